/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * IPv6, with extension headers -> addresses, fragment, and the transport header.
 *
 * Holds functions as packet.h does.
 */
#ifndef VTAP_IPV6_H
#define VTAP_IPV6_H

#include "packet.h"
#include "transport.h"

static __always_inline int is_ipv6_extension(__u32 next)
{
	return next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT ||
	       next == NEXT_AUTHENTICATION || next == NEXT_DESTINATION_OPTIONS ||
	       next == NEXT_MOBILITY || next == NEXT_HOST_IDENTITY || next == NEXT_SHIM6;
}

/* Moves packet->l4_offset and l4_bytes behind the extension headers; *next is what follows. */
static __always_inline enum outcome skip_ipv6_extensions(struct __sk_buff *skb,
							 struct packet *packet, __u32 *next)
{
	int i;

	for (i = 0; i < MAX_IPV6_EXTENSIONS; i++) {
		__u32 extension[2] = {}; /* next header, length, ... in network byte order */
		__u32 first, bytes;

		if (!is_ipv6_extension(*next) || packet->fragment_offset)
			return PARSED;
		if (packet->l4_bytes < sizeof(extension))
			return MALFORMED;
		if (bpf_skb_load_bytes(skb, packet->l4_offset, extension, sizeof(extension)) < 0)
			return TRUNCATED;
		first = bpf_ntohl(extension[0]);
		bytes = ((first >> 16 & 0xff) + 1) * 8;
		if (*next == NEXT_AUTHENTICATION) {
			bytes = ((first >> 16 & 0xff) + 2) * 4; /* RFC 4302 section 2.2 */
		} else if (*next == NEXT_FRAGMENT) {
			bytes = 8; /* RFC 8200 section 4.5; the second byte is reserved */
			packet->fragment_offset = first & 0xfff8;
			packet->more_fragments = first & 1;
			packet->fragment_id = extension[1];
		}
		if (packet->l4_bytes < bytes)
			return MALFORMED;
		packet->l4_offset += bytes;
		packet->l4_bytes -= bytes;
		*next = first >> 24;
	}
	return is_ipv6_extension(*next) && !packet->fragment_offset ? TOO_MANY_EXTENSIONS : PARSED;
}

static __always_inline enum outcome parse_ipv6(struct __sk_buff *skb, struct packet *packet,
					       __u32 *head, __u32 l3_offset)
{
	__u32 length = bpf_ntohl(head[2]); /* payload length, next header, hop limit */
	__u32 next = length >> 8 & 0xff;
	int i;

	if (skb->len < l3_offset + IPV6_HEADER_BYTES)
		return TRUNCATED;
	if (bpf_ntohl(head[1]) >> 28 != 6)
		return MALFORMED;
	packet->family = 6;
	for (i = 0; i < 4; i++) {
		packet->saddr[i] = head[3 + i];
		packet->daddr[i] = head[7 + i];
	}
	packet->l4_offset = l3_offset + IPV6_HEADER_BYTES;
	packet->l4_bytes = length >> 16;
	if (!packet->l4_bytes && packet->segment_bytes) { /* BIG TCP, as above */
		packet->l4_bytes = skb->len - packet->l4_offset;
		if (next == NEXT_HOP_BY_HOP) /* the kernel's, for the length (RFC 2675) */
			packet->added_bytes = HOP_BY_HOP_JUMBO_BYTES;
	}
	if (skb->len < packet->l4_offset + packet->l4_bytes)
		return TRUNCATED;
	packet->is_plain = !is_ipv6_extension(next);
	if (!packet->is_plain) {
		enum outcome outcome = skip_ipv6_extensions(skb, packet, &next);

		if (outcome != PARSED)
			return outcome;
		if (!packet->fragment_offset && load_l4(skb, packet, &head[HEAD_L4_OF_IPV6]) < 0)
			return TRUNCATED;
	}
	if (next == NEXT_TCP)
		packet->protocol = PROTOCOL_TCP;
	else if (next == NEXT_UDP)
		packet->protocol = PROTOCOL_UDP;
	else if (next == NEXT_ICMPV6)
		packet->protocol = PROTOCOL_ICMP;
	else
		return OTHER_PROTOCOL;
	return parse_l4(packet, &head[HEAD_L4_OF_IPV6]);
}

#endif
