/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Stands in for the kernel's headers: BCC asks for this file to know that the folder holds them. */
#define CONFIG_BPF_SYSCALL 1
