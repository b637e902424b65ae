/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc includes it; neither its headers nor our programs use anything of it. */
