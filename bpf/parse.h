/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The parser: Ethernet, VLAN tags, IPv4 with options, IPv6 with extension headers -> struct packet.
 *
 * Holds functions as packet.h does.
 */
#ifndef VTAP_PARSE_H
#define VTAP_PARSE_H

#include "packet.h"

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

static __always_inline int is_vlan(__u32 ethertype)
{
	return ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ ||
	       ethertype == ETHERTYPE_QINQ_OLD;
}

/* One read of the headers in the common case; one more for tags, options and extensions each. */
static __always_inline enum outcome parse_packet(struct __sk_buff *skb, struct packet *packet,
						 __u32 *head)
{
	__u32 l3_offset = ETHERNET_HEADER_BYTES;
	__u32 ethertype;
	int tags;

	/* Read only here: of reads in two branches LLVM makes one, which the verifier refuses. */
	packet->segment_bytes = *(volatile __u32 *)&skb->gso_size;
	if (load_head(skb, ETHERNET_HEADER_BYTES, head) < 0)
		return TRUNCATED;
	ethertype = bpf_ntohl(head[0]) & 0xffff;
	for (tags = 0; tags < MAX_VLAN_TAGS && is_vlan(ethertype); tags++) {
		l3_offset += VLAN_TAG_BYTES;
		if (load_head(skb, l3_offset, head) < 0)
			return TRUNCATED;
		ethertype = bpf_ntohl(head[0]) & 0xffff;
	}
	if (ethertype == ETHERTYPE_IPV4)
		return parse_ipv4(skb, packet, head, l3_offset);
	if (ethertype == ETHERTYPE_IPV6)
		return parse_ipv6(skb, packet, head, l3_offset);
	return is_vlan(ethertype) ? TOO_MANY_TAGS : NOT_IP;
}

#endif
