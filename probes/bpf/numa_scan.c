/* SPDX-License-Identifier: GPL-2.0-only
 *
 * numa_scan: NUMA balancing takes a process's pages away to see who touches
 * them, in that process's own threads. Only marks what runs within.
 */
#include "calls.h"

int NV_NUMA_SCAN_ENTRY(unsigned long long *ctx)
{
	nv_mark(NV_NUMA_SCAN, NV_NUMA_SCAN_TYPED, ctx, 0); /* the work, in the task */
	return 0;
}

int NV_NUMA_SCAN_EXIT(unsigned long long *ctx)
{
	nv_unmark(NV_NUMA_SCAN);
	return 0;
}
