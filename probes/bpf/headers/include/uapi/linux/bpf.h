/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc brings its own copy, and includes it first. */
#ifndef __LINUX_BPF_H__
#ifndef _UAPI__LINUX_BPF_H__
#error "this bcc does not bring linux/bpf.h"
#endif
#endif
