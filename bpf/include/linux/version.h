/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Stands in for the kernel's headers: the oldest kernel that vTap supports. */
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)
