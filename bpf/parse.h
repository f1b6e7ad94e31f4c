/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The parser: Ethernet and VLAN tags, then IPv4 (ipv4.h) or IPv6 (ipv6.h) -> struct packet.
 *
 * Holds functions as packet.h does.
 */
#ifndef VTAP_PARSE_H
#define VTAP_PARSE_H

#include "ipv4.h"
#include "ipv6.h"
#include "packet.h"

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
