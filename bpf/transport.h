/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The transport header: TCP, UDP, ICMP -> ports, TCP's sequence number, payload.
 *
 * Holds functions as packet.h does.
 */
#ifndef VTAP_TRANSPORT_H
#define VTAP_TRANSPORT_H

#include "packet.h"

/* Puts the transport header where it stands in a packet without options or extensions. */
static __always_inline int load_l4(struct __sk_buff *skb, const struct packet *packet, __u32 *l4)
{
	__u64 bytes = packet->l4_bytes;

	if (bytes > TCP_HEADER_BYTES)
		bytes = TCP_HEADER_BYTES;
	if (bytes < UDP_HEADER_BYTES)
		return 0; /* too short for any of them: parse_l4() finds out */
	return bpf_skb_load_bytes(skb, packet->l4_offset, l4, bytes);
}

/* The transport header; l4 points to its words in network byte order. */
static __always_inline enum outcome parse_l4(struct packet *packet, const __u32 *l4)
{
	__u32 header_bytes = UDP_HEADER_BYTES;

	if (packet->fragment_offset) { /* the middle of a datagram: all of it is payload */
		packet->payload_offset = packet->l4_offset;
		packet->payload_bytes = packet->l4_bytes;
		return PARSED;
	}
	if (packet->protocol == PROTOCOL_TCP) {
		if (packet->l4_bytes < TCP_HEADER_BYTES)
			return MALFORMED;
		header_bytes = (bpf_ntohl(l4[3]) >> 28) * 4;
		if (header_bytes < TCP_HEADER_BYTES)
			return MALFORMED;
		packet->tcp_sequence = bpf_ntohl(l4[1]);
	} else if (packet->protocol == PROTOCOL_ICMP) {
		header_bytes = ICMP_HEADER_BYTES;
	}
	if (packet->l4_bytes < header_bytes)
		return MALFORMED;
	if (packet->protocol != PROTOCOL_ICMP) {
		packet->has_ports = 1;
		packet->sport = bpf_ntohl(l4[0]) >> 16;
		packet->dport = bpf_ntohl(l4[0]) & 0xffff;
	}
	packet->payload_offset = packet->l4_offset + header_bytes;
	packet->payload_bytes = packet->l4_bytes - header_bytes;
	return PARSED;
}

#endif
