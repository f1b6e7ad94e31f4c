/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where a packet carries its sequence number: the TCP header, OFFSET bytes into the payload, or
 * OFFSET bytes after the first byte of PATTERN's first occurrence in the payload.
 *
 * Holds types and functions as packet.h does; the scratch memory is a map value passed in.
 */
#ifndef VTAP_SEQUENCE_H
#define VTAP_SEQUENCE_H

#include "packet.h"

#define CHUNK_BYTES 1024
#define CHUNK_NEW_BYTES (CHUNK_BYTES - 3) /* the last 3 are searched again with the next chunk */
#define CHECK_BYTES 64 /* after so many the search looks whether the payload goes on */
#define MAX_SEARCH_BYTES 9216 /* a jumbo frame (9000 bytes) whole */

/* Behind the payload of a merged frame's first packet stand those of the others. */
static __always_inline __u32 first_payload_bytes(const struct packet *packet)
{
	if (packet->segment_bytes && packet->segment_bytes < packet->payload_bytes)
		return packet->segment_bytes;
	return packet->payload_bytes;
}

struct chunk {
	__u8 bytes[CHUNK_BYTES + 8]; /* payload, and room for the last unaligned word */
	__u32 payload_offset; /* bytes from the start of the skb */
	__u32 payload_bytes;
	__u32 forgotten; /* see forget() */
};

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

#define PATTERN_BYTE(index) ((SEQUENCE_PATTERN >> (24 - 8 * (index))) & 0xffULL)
#define IN_EVERY_BYTE(value) ((value) * 0x0101010101010101ULL)

/*
 * Eight positions at once: byte j of the result is zero exactly where the pattern starts at byte
 * j, as byte j of the word read at +k is then the pattern's byte k.
 */
static __always_inline __u64 differences(const __u8 *bytes)
{
	return (*(const __u64 *)bytes ^ IN_EVERY_BYTE(PATTERN_BYTE(0))) |
	       (*(const __u64 *)(bytes + 1) ^ IN_EVERY_BYTE(PATTERN_BYTE(1))) |
	       (*(const __u64 *)(bytes + 2) ^ IN_EVERY_BYTE(PATTERN_BYTE(2))) |
	       (*(const __u64 *)(bytes + 3) ^ IN_EVERY_BYTE(PATTERN_BYTE(3)));
}

static __always_inline int has_zero_byte(__u64 word)
{
	return ((word - IN_EVERY_BYTE(0x01ULL)) & ~word & IN_EVERY_BYTE(0x80ULL)) != 0;
}

/*
 * The verifier does not follow what stands in a map: from here on it knows nothing of the value.
 * So one walk through the code that follows serves for every value; without it, each word in
 * which the pattern may be found is a walk of its own, and the program is refused as too large.
 */
static __always_inline __u32 forget(struct chunk *chunk, __u32 value)
{
	*(volatile __u32 *)&chunk->forgotten = value;
	return *(volatile __u32 *)&chunk->forgotten;
}

/* Loads the payload from start; returns how many bytes, 0: no room for the pattern. */
static __always_inline __u32 load_chunk(struct __sk_buff *skb, struct chunk *chunk, __u32 start)
{
	__u32 offset = *(volatile __u32 *)&chunk->payload_offset + start;
	__u64 bytes = *(volatile __u32 *)&chunk->payload_bytes;
	__u8 no_match = ~PATTERN_BYTE(3) & 0xff;

	if (bytes < start + 4)
		return 0;
	bytes -= start;
	if (bytes > CHUNK_BYTES)
		bytes = CHUNK_BYTES;
	if (bpf_skb_load_bytes(skb, offset, chunk->bytes, bytes) < 0)
		return 0;
	/* What stands behind cannot complete a pattern that starts before the end. */
	chunk->bytes[bytes] = no_match;
	chunk->bytes[bytes + 1] = no_match;
	chunk->bytes[bytes + 2] = no_match;
	return bytes;
}

/* Asks the map each time: the verifier would walk on once for each payload length it knows of. */
static __always_inline int is_searched(const struct chunk *chunk, __u32 position)
{
	return *(const volatile __u32 *)&chunk->payload_bytes <= position;
}

/* Position of the pattern, which starts in this word of the chunk. */
static __always_inline __u32 find_in_word(const struct chunk *chunk, __u32 word)
{
	__u32 byte;

	if (word >= CHUNK_BYTES)
		return CHUNK_BYTES;
	for (byte = 0; byte < 7; byte++) {
		const __u8 *at = &chunk->bytes[word + byte];

		if (at[0] == PATTERN_BYTE(0) && at[1] == PATTERN_BYTE(1) &&
		    at[2] == PATTERN_BYTE(2) && at[3] == PATTERN_BYTE(3))
			break;
	}
	return word + byte;
}

/* Bytes from the payload's start to the pattern, or -1. */
static __always_inline __s32 find_pattern(struct __sk_buff *skb, const struct packet *packet,
					  struct chunk *chunk)
{
	__u32 start, word, bytes, found;

	chunk->payload_offset = packet->payload_offset;
	chunk->payload_bytes = first_payload_bytes(packet);
	for (start = 0; start < MAX_SEARCH_BYTES; start += CHUNK_NEW_BYTES) {
		bytes = load_chunk(skb, chunk, start);
		if (!bytes)
			return -1;
		/* One branch a word: more pile up jumps until the verifier gives up. */
		for (word = 0; word < CHUNK_BYTES; word += 8) {
			if (word && word % CHECK_BYTES == 0 && is_searched(chunk, start + word))
				return -1;
			if (has_zero_byte(differences(&chunk->bytes[word])))
				goto found;
		}
	}
	return -1;
found:
	bytes = forget(chunk, bytes);
	start = forget(chunk, start);
	found = find_in_word(chunk, forget(chunk, word));
	/* Behind the payload's end stand bytes of earlier packets. */
	return found < bytes ? (__s32)(start + found) : -1;
}

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
