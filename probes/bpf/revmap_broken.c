/* SPDX-License-Identifier: GPL-2.0-only
 *
 * revmap_broken: a reverse map becomes unreliable, until the next full unmap
 * of its MMU.
 */
#include "nvscope.h"

int NV_REVMAP_BROKEN_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_REVMAP_BROKEN_TYPED;
	nv_u64 mmu = nv_value(typed, ctx, NV_REVMAP_BROKEN_MMU_ARG, NV_REVMAP_BROKEN_MMU_AT);
	nv_u64 id = NV_MMU_ID(typed, mmu);
	struct nv_key key = {};
	struct nv_mmu *state;

	nv_key_of(&key, NV_KVM_OF_MMU(typed, mmu), 0);
#if NV_TRACE
	struct nv_event event = { .mmu = id };

	nv_emit(NV_EVENT_BROKEN, &key, &event);
#endif
	state = nv_mmu_state(id, &key);
	if (state)
		state->broken = 1;
	return 0;
}
