/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which bit of a rule table's filter a key has. Where the bit is 0 the key is not in the table,
 * and the lookup, which costs several times as much, is spared. vtap/shapes.py sets the bits.
 *
 * Holds functions as packet.h does.
 */
#ifndef VTAP_FILTER_H
#define VTAP_FILTER_H

#include "compiler.h"

#define FILTER_MULTIPLIER 0x9e3779b97f4a7c15ULL /* 2^64 / golden ratio, odd (Knuth, TAOCP 6.4) */

/* The key's number of so many bits. */
static __always_inline __u64 hash_key(const __u32 *words, __u32 count, __u32 bits)
{
	__u64 hash = 0;
	__u32 i;

#pragma unroll
	for (i = 0; i < count; i++)
		hash = (hash ^ words[i]) * FILTER_MULTIPLIER;
	return hash >> (64 - bits);
}

#endif
