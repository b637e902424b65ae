/* SPDX-License-Identifier: GPL-2.0-only
 *
 * revmap_broken: a reverse map becomes unreliable, until the next full unmap
 * of its MMU.
 */
#include "events.h"
#include "rows.h"

int NV_REVMAP_BROKEN_ENTRY(unsigned long long *ctx)
{
	const int typed = NV_REVMAP_BROKEN_TYPED;
	nv_u64 mmu = nv_value(typed, ctx, NV_REVMAP_BROKEN_MMU_ARG, NV_REVMAP_BROKEN_MMU_AT);
	nv_u64 id = NV_MMU_ID(typed, mmu);
	nv_u64 kvm = NV_KVM_OF_MMU(typed, mmu);
	struct nv_mmu *state;
	nv_u32 index;
#if NV_TRACE
	struct nv_event event = { .mmu = id };
	struct nv_key key = {};

	nv_key_of(&key, kvm, 0);
	nv_emit(NV_EVENT_BROKEN, &key, &event);
#endif
	state = nv_find_mmu(id, kvm, 1, &index);
	if (state)
		state->broken = 1;
	return 0;
}
