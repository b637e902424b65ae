/* SPDX-License-Identifier: GPL-2.0-only
 *
 * s2_relax: what is mapped may from now on be used more freely. Marks the fault
 * that this task handles, as s2_map does.
 */
#include "calls.h"

int NV_S2_RELAX_ENTRY(unsigned long long *ctx)
{
	struct nv_inflight *task = nv_task_inside(NV_S2_FAULT);

	if (task)
		task->mapped = 1;
	return 0;
}
