/* SPDX-License-Identifier: GPL-2.0-only
 *
 * s2_map: something is mapped by a stage 2. Marks the fault that this task
 * handles, where s2_fault is attached to a function that does more than faults.
 */
#include "calls.h"

int NV_S2_MAP_ENTRY(unsigned long long *ctx)
{
	struct nv_inflight *task = nv_task_inside(NV_S2_FAULT);

	if (task)
		task->mapped = 1;
	return 0;
}
