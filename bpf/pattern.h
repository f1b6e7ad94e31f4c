/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The search for PATTERN in a payload: eight positions at a time, chunk by chunk.
 *
 * Holds types and functions as packet.h does; the scratch memory is a map value passed in.
 */
#ifndef VTAP_PATTERN_H
#define VTAP_PATTERN_H

#include "packet.h"

#define CHUNK_BYTES 1024
#define CHUNK_NEW_BYTES (CHUNK_BYTES - 3) /* the last 3 are searched again with the next chunk */
#define CHECK_BYTES 64 /* after so many the search looks whether the payload goes on */
#define MAX_SEARCH_BYTES 9216 /* a jumbo frame (9000 bytes) whole */

struct chunk {
	__u8 bytes[CHUNK_BYTES + 8]; /* payload, and room for the last unaligned word */
	__u32 payload_offset; /* bytes from the start of the skb */
	__u32 payload_bytes;
	__u32 forgotten; /* see forget() */
};

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

#endif

#endif
