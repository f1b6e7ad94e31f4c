/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the compiler is asked for in words of its own. */
#ifndef VTAP_COMPILER_H
#define VTAP_COMPILER_H

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

/*
 * Puts value into *cell, which all CPUs share, and returns what stood there; kernel 5.12.
 *
 * LLVM 11, which BCC brings on Ubuntu 22.04, does not know the instruction: there it is put
 * together from its bytes (include/uapi/linux/bpf.h: BPF_STX | BPF_ATOMIC | BPF_DW, BPF_XCHG;
 * little endian), the symbols giving the registers their numbers.
 */
static __always_inline __u64 atomic_exchange(__u64 *cell, __u64 value)
{
#if __clang_major__ < 12
	asm volatile(".set vtap_r0, 0\n.set vtap_r1, 1\n.set vtap_r2, 2\n.set vtap_r3, 3\n"
		     ".set vtap_r4, 4\n.set vtap_r5, 5\n.set vtap_r6, 6\n.set vtap_r7, 7\n"
		     ".set vtap_r8, 8\n.set vtap_r9, 9\n"
		     ".byte 0xdb, vtap_%0 << 4 | vtap_%1, 0, 0, 0xe1, 0, 0, 0"
		     : "+r"(value)
		     : "r"(cell)
		     : "memory");
	return value;
#else
	return __sync_lock_test_and_set(cell, value);
#endif
}

#endif
