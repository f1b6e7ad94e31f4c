/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Stands in for the kernel's header of this name, of which bcc/proto.h uses nothing. */
