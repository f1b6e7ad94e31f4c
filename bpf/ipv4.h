/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * IPv4, with options -> addresses, fragment, and the transport header.
 *
 * Holds functions as packet.h does.
 */
#ifndef VTAP_IPV4_H
#define VTAP_IPV4_H

#include "packet.h"
#include "transport.h"

static __always_inline enum outcome parse_ipv4(struct __sk_buff *skb, struct packet *packet,
					       __u32 *head, __u32 l3_offset)
{
	__u32 first = bpf_ntohl(head[1]); /* version, header length, DSCP, total length */
	__u32 header_bytes = (first >> 24 & 0xf) * 4;
	__u32 total_bytes = first & 0xffff;
	__u32 fragment = bpf_ntohl(head[2]); /* identification, flags, fragment offset */
	__u32 l4_proto = bpf_ntohl(head[3]) >> 16 & 0xff;

	if (skb->len < l3_offset + IPV4_HEADER_BYTES)
		return TRUNCATED;
	if (first >> 28 != 4 || header_bytes < IPV4_HEADER_BYTES)
		return MALFORMED;
	if (!total_bytes && packet->segment_bytes) /* BIG TCP: more than 65535 bytes, merged */
		total_bytes = skb->len - l3_offset;
	if (total_bytes < header_bytes)
		return MALFORMED;
	if (skb->len < l3_offset + total_bytes)
		return TRUNCATED;
	if (l4_proto == NEXT_TCP)
		packet->protocol = PROTOCOL_TCP;
	else if (l4_proto == NEXT_UDP)
		packet->protocol = PROTOCOL_UDP;
	else if (l4_proto == NEXT_ICMP)
		packet->protocol = PROTOCOL_ICMP;
	else
		return OTHER_PROTOCOL;
	packet->family = 4;
	packet->saddr[0] = head[4];
	packet->daddr[0] = head[5];
	packet->more_fragments = fragment & IPV4_MORE_FRAGMENTS;
	packet->fragment_offset = fragment & IPV4_FRAGMENT_OFFSET;
	packet->fragment_id = fragment >> 16;
	packet->l4_offset = l3_offset + header_bytes;
	packet->l4_bytes = total_bytes - header_bytes;
	packet->is_plain = header_bytes == IPV4_HEADER_BYTES;
	if (!packet->is_plain && load_l4(skb, packet, &head[HEAD_L4_OF_IPV4]) < 0)
		return TRUNCATED;
	return parse_l4(packet, &head[HEAD_L4_OF_IPV4]);
}

#endif
