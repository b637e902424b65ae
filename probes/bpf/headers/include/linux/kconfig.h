/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc refuses to compile for a kernel that it takes to be without BPF. */
#define CONFIG_BPF_SYSCALL 1
