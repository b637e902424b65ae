/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc gives a ring buffer's size in pages: programs.py says how large one is. */
#define PAGE_SIZE (1 << NV_PAGE_SHIFT)
