/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where a packet carries its sequence number: the TCP header, OFFSET bytes into the payload, or
 * OFFSET bytes after the first byte of PATTERN's first occurrence in the payload (pattern.h).
 *
 * Holds functions as packet.h does.
 */
#ifndef VTAP_SEQUENCE_H
#define VTAP_SEQUENCE_H

#include "packet.h"
#include "pattern.h"

/* The number that stands at a byte of the payload; 0: the payload does not reach that far. */
static __always_inline int load_number(struct __sk_buff *skb, __u32 payload_offset,
				       __u32 payload_bytes, __u32 at, __u32 *number)
{
	__u32 word = 0;

	if (payload_bytes < at + sizeof(word))
		return 0;
	if (bpf_skb_load_bytes(skb, payload_offset + at, &word, sizeof(word)) < 0)
		return 0;
	*number = bpf_ntohl(word);
	return 1;
}

#ifdef SEQUENCE_PATTERN

static __always_inline int read_payload_sequence(struct __sk_buff *skb, const struct packet *packet,
						 const __u32 *head, struct chunk *chunk,
						 __u32 *number)
{
	__s32 pattern_at = find_pattern(skb, packet, chunk);

	if (pattern_at < 0)
		return 0;
	return load_number(skb, chunk->payload_offset, chunk->payload_bytes,
			   pattern_at + SEQUENCE_OFFSET, number);
}

#elif defined(SEQUENCE_OFFSET)

/* Bytes from the head's start to the number; the headers of UDP and ICMP are two words. */
#define HEAD_BYTE(l4_word) (((l4_word) + 2) * 4 + SEQUENCE_OFFSET)
#define IS_IN_HEAD(l4_word) (HEAD_BYTE(l4_word) + 4 <= HEAD_BYTES)

/* 32 bits at a constant place of the head, in host byte order. */
static __always_inline __u32 read_head(const __u32 *head, __u32 byte)
{
	__u32 shift = byte % 4 * 8;
	__u32 word = bpf_ntohl(head[byte / 4]);

	return shift ? word << shift | bpf_ntohl(head[byte / 4 + 1]) >> (32 - shift) : word;
}

/* Near the payload's start the number is in the head, which spares another load. */
static __always_inline int read_payload_sequence(struct __sk_buff *skb, const struct packet *packet,
						 const __u32 *head, struct chunk *chunk,
						 __u32 *number)
{
	__u32 payload_bytes = first_payload_bytes(packet);
	int is_in_head =
		packet->family == 4 ? IS_IN_HEAD(HEAD_L4_OF_IPV4) : IS_IN_HEAD(HEAD_L4_OF_IPV6);

	if (!is_in_head || !packet->is_plain)
		return load_number(skb, packet->payload_offset, payload_bytes, SEQUENCE_OFFSET,
				   number);
	if (payload_bytes < SEQUENCE_OFFSET + sizeof(*number))
		return 0;
	if (packet->family == 4)
		*number = read_head(head, HEAD_BYTE(HEAD_L4_OF_IPV4) % HEAD_BYTES);
	else
		*number = read_head(head, HEAD_BYTE(HEAD_L4_OF_IPV6) % HEAD_BYTES);
	return 1;
}

#else

static __always_inline int read_payload_sequence(struct __sk_buff *skb, const struct packet *packet,
						 const __u32 *head, struct chunk *chunk,
						 __u32 *number)
{
	return 0;
}

#endif

/* 1 and the number in host byte order, or 0: the packet carries none. */
static __always_inline int read_sequence(struct __sk_buff *skb, const struct packet *packet,
					 const __u32 *head, struct chunk *chunk, __u32 *number)
{
	if (packet->fragment_offset)
		return 0;
	if (packet->protocol == PROTOCOL_TCP) {
		*number = packet->tcp_sequence;
		return 1;
	}
	return read_payload_sequence(skb, packet, head, chunk, number);
}

#endif
