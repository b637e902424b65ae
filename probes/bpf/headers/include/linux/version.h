/* SPDX-License-Identifier: GPL-2.0-only */
/* No program asks which kernel it runs on. bcc does, and has old ways for kernels before 4.8. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 0, 0)
