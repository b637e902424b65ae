/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Where calls are counted: the rows of VMs, and the states of shadow MMUs.
 *
 * Both lie in arrays that all CPUs share. A task keeps the indexes of those it used last, and looks
 * whether they are still the right ones: that takes a fifth of a hash lookup. The hashes are for the
 * first time, and for when another VM, or another MMU, came in between. Of each kind of call a VM has a
 * row for each stripe of CPUs that its tasks counted on first. Adds are atomic: tasks that count at
 * once mostly do so in cache lines of their own, and where not nothing is lost.
 */
#ifndef NV_ROWS_H
#define NV_ROWS_H

#include "calls.h"

#ifdef BPF_F_TABLE

BPF_F_TABLE("array", int, struct nv_row, rows, NV_ROWS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", int, struct nv_mmu, mmus, NV_MMUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", int, struct nv_heads, heads, 1, BPF_F_MMAPABLE);

/* Rows' indexes are there beforehand: memory for a new one may come late (on PREEMPT_RT it is brought
 * by another task), and a VM's first calls count as well.
 */
BPF_F_TABLE("hash", struct nv_key, nv_u32, row_index, NV_ROWS, 0);
BPF_F_TABLE("hash", nv_u64, nv_u32, mmu_index, NV_MMUS, BPF_F_NO_PREALLOC);
/* What can be had, filled by the loader. */
BPF_STACK(free_striped, struct nv_range, NV_SHARE_ROWS);
BPF_STACK(free_shared, struct nv_range, NV_SHARE_ROWS);
BPF_STACK(free_mmus, struct nv_range, NV_MMUS);

nv_inline struct nv_row *nv_row_at(nv_u32 index)
{
	return rows.lookup((int *)&index);
}

nv_inline struct nv_mmu *nv_mmu_at(nv_u32 index)
{
	return mmus.lookup((int *)&index);
}

nv_inline struct nv_heads *nv_heads(void)
{
	int zero = 0;

	return heads.lookup(&zero);
}

nv_inline nv_u32 *nv_last_row(struct nv_last *last, nv_u32 labels)
{
	nv_u32 point = labels >> NV_POINT_SHIFT & (NV_LAST_POINTS - 1);

	return &last->rows[point * NV_LAST_LABELS + (labels & (NV_LAST_LABELS - 1))];
}

nv_inline nv_u64 nv_who(const struct nv_key *key)
{
	return (nv_u64)key->labels << 32 | key->pid;
}

/* Whether a row is what it was for who kept its index. Rows go with their VM, so that the struct kvm
 * says which it is; where nobody sees VMs go, the thread that made it does as well.
 */
nv_inline int nv_is_row(const struct nv_row *row, nv_u64 kvm, nv_u64 labels)
{
#if !NV_HAS_VM_EXIT
	if ((nv_u32)row->who != nv_load32(0, kvm, NV_OFFSET_KVM_PID))
		return 0;
#endif
	return row->kvm == kvm && row->who >> 32 == labels;
}

/* The first of a range: for as long as that is off the stack, nobody else takes from it, or says how
 * much of it was given out. What is left of it goes back. first: of its pool; shift: of a range's size.
 */
nv_inline nv_u32 nv_take_first(struct nv_heads *at, int pool, nv_u32 first, int shift,
			       struct nv_range *range)
{
	nv_u32 index = range->first++;
	nv_u32 end = ((index - first) & ((1 << shift) - 1)) + 1;
	nv_u64 number = (index - first) >> shift;
	nv_u32 *ends = at->ends + pool * NV_RANGES;

	range->count--;
	/* For the verifier: a bound that the compiler does not know to be one already. */
	asm volatile("" : "+r"(number));
	number &= NV_RANGES - 1;
	if (ends[number] < end)
		ends[number] = end;
	return index;
}

/* An index that is nobody's; 0 where there is none. */
nv_inline int nv_take_row(struct nv_heads *at, int shared, nv_u32 *index)
{
	struct nv_range range;

	if (shared ? free_shared.pop(&range) : free_striped.pop(&range))
		return 0;
	*index = nv_take_first(at, shared ? NV_SHARED : NV_STRIPED, shared ? NV_SHARE_ROWS : 0,
			       NV_ROW_SHIFT, &range);
	if (!range.count)
		return 1;
	if (shared)
		free_shared.push(&range, 0);
	else
		free_striped.push(&range, 0);
	return 1;
}

/* Empty, for whoever comes next. A reader is to see it on both sides of that. */
nv_inline void nv_give_row(struct nv_heads *at, struct nv_row *row, nv_u32 index)
{
	struct nv_range range = { .first = index, .count = 1 };

	__sync_fetch_and_add(&at->freed, 1);
	__builtin_memset(row, 0, sizeof(*row));
	__sync_fetch_and_add(&at->freed, 1);
	if (index < NV_SHARE_ROWS)
		free_striped.push(&range, 0);
	else
		free_shared.push(&range, 0);
}

/* A row for a key that the index has none for. */
nv_inline struct nv_row *nv_new_row(struct nv_heads *at, struct nv_key *striped,
				    const struct nv_key *key, nv_u32 *index)
{
	int shared = striped->labels >> NV_STRIPE_SHIFT == NV_ALL_CPUS;
	struct nv_row *row;
	nv_u32 *first;

	if (!nv_take_row(at, shared, index))
		return 0;
	row = nv_row_at(*index);
	if (!row)
		return 0;
	/* Again: who counted for the last owner when it was given back may have come after that. */
	__builtin_memset(&row->size_bytes, 0, sizeof(*row) - sizeof(row->kvm) - sizeof(row->who));
	row->who = nv_who(key);
	row->kvm = key->kvm;
	if (!row_index.insert(striped, index))
		return row;
	/* Another CPU of this stripe was faster. */
	nv_give_row(at, row, *index);
	first = row_index.lookup(striped);
	if (!first)
		return 0;
	*index = *first;
	return nv_row_at(*index);
}

nv_inline struct nv_row *nv_row_of(struct nv_heads *at, nv_u32 stripe, const struct nv_key *key,
				   nv_u32 *index)
{
	struct nv_key striped = *key;
	nv_u32 *found;

	striped.labels |= stripe << NV_STRIPE_SHIFT;
	found = row_index.lookup(&striped);
	if (!found)
		return nv_new_row(at, &striped, key, index);
	*index = *found;
	return nv_row_at(*index);
}

/* A VM's row, made when first asked for; NULL, and counted, where there is no room. */
nv_inline struct nv_row *nv_find_row(nv_u64 kvm, nv_u32 labels, nv_u32 *index)
{
	nv_u32 stripe = bpf_get_smp_processor_id() & (NV_STRIPES - 1);
	struct nv_heads *at = nv_heads();
	struct nv_row *row = 0;
	struct nv_key key = {};

	nv_key_of(&key, kvm, labels);
	if (at)
		row = nv_row_of(at, stripe, &key, index);
	if (at && !row)
		row = nv_row_of(at, NV_ALL_CPUS, &key, index);
	if (row && row->kvm == kvm && row->who == nv_who(&key))
		return row;
	nv_lose(NV_LOST_VM_FULL);
	return 0;
}

/* Without it the compiler makes two branches of one. */
#define NV_STEP(slot, ns, bits) \
	do { slot += bits; ns >>= bits; asm volatile("" : "+r"(ns)); } while (0)

/* fls64: slot i covers [2^(i-1), 2^i) ns, the last one also all above. The four bits that are left
 * in the end are looked up in a constant: each step less is five instructions. The verifier sees it
 * end in struct nv_row.
 */
nv_inline nv_u64 nv_slot(nv_u64 ns)
{
	nv_u64 slot = 0;

	if (ns > 0xffff) {
		if (ns >= 1ULL << (NV_SLOTS - 2))
			ns = 1ULL << (NV_SLOTS - 2);
		if (ns > 0xffffffff)
			NV_STEP(slot, ns, 32);
		else
			NV_STEP(slot, ns, 16);
	}
	if (ns > 0xff)
		NV_STEP(slot, ns, 8);
	if (ns > 0xf)
		NV_STEP(slot, ns, 4);
	return slot + ((0x4444444433332210ULL >> (ns << 2)) & 7);
}

/* Count a call; returns its row, or NULL where there is no room for one. probably: where its index is
 * kept. It is looked up from there: a copy on the stack takes four instructions more.
 */
nv_inline struct nv_row *nv_count_at(nv_u32 *probably, nv_u64 kvm, nv_u64 labels, nv_u64 ns)
{
	struct nv_row *row = rows.lookup((int *)probably);

	if (!row || !nv_is_row(row, kvm, labels)) {
		nv_u32 index;

		row = nv_find_row(kvm, labels, &index);
		if (!row)
			return 0;
		*probably = index;
	}
	__sync_fetch_and_add(&row->sum_ns, ns);
	__sync_fetch_and_add(&row->slots[nv_slot(ns)], 1);
	return row;
}

nv_inline struct nv_row *nv_count(struct nv_last *last, nv_u64 kvm, nv_u32 labels, nv_u64 ns)
{
	return nv_count_at(nv_last_row(last, labels), kvm, labels, ns);
}

/* A VM's row of these labels goes, in all stripes. */
nv_inline void nv_drop_row(struct nv_heads *at, struct nv_key *striped)
{
	nv_u32 *found = row_index.lookup(striped), index;
	struct nv_row *row;

	if (!found)
		return;
	index = *found;
	row_index.delete(striped);
	row = nv_row_at(index);
	if (row)
		nv_give_row(at, row, index);
}

nv_inline int nv_take_mmu(struct nv_heads *at, nv_u32 *index)
{
	struct nv_range range;

	if (free_mmus.pop(&range))
		return 0;
	*index = nv_take_first(at, NV_SHADOW, 0, NV_MMU_SHIFT, &range);
	if (range.count)
		free_mmus.push(&range, 0);
	return 1;
}

nv_inline void nv_give_mmu(struct nv_heads *at, struct nv_mmu *state, nv_u32 index)
{
	struct nv_range range = { .first = index, .count = 1 };

	__sync_fetch_and_add(&at->freed, 1);
	__builtin_memset(state, 0, sizeof(*state));
	__sync_fetch_and_add(&at->freed, 1);
	free_mmus.push(&range, 0);
}

nv_inline struct nv_mmu *nv_new_mmu(nv_u64 id, nv_u64 kvm, nv_u32 *index)
{
	struct nv_heads *at = nv_heads();
	struct nv_mmu *state;
	nv_u32 *first;

	if (!at || !nv_take_mmu(at, index))
		return 0;
	state = nv_mmu_at(*index);
	if (!state)
		return 0;
	state->kvm = kvm;
	state->pid = nv_load32(0, kvm, NV_OFFSET_KVM_PID);
	state->id = id;
	if (!mmu_index.insert(&id, index))
		return state;
	nv_give_mmu(at, state, *index);
	first = mmu_index.lookup(&id);
	if (!first)
		return 0;
	*index = *first;
	return nv_mmu_at(*index);
}

/* A shadow MMU's state; NULL where it has none and none is to be made, or, counted, where there is
 * no room for one.
 */
nv_inline struct nv_mmu *nv_find_mmu(nv_u64 id, nv_u64 kvm, int make, nv_u32 *index)
{
	nv_u32 *found = mmu_index.lookup(&id);
	struct nv_mmu *state;

	if (!found && !make)
		return 0;
	if (found) {
		*index = *found;
		state = nv_mmu_at(*index);
	} else {
		state = nv_new_mmu(id, kvm, index);
	}
	if (state && state->id == id)
		return state;
	nv_lose(NV_LOST_MMU_FULL);
	return 0;
}

/* The same, where it has probably been used last. */
nv_inline struct nv_mmu *nv_mmu_state(nv_u32 *probably, nv_u64 id, nv_u64 kvm, int make)
{
	struct nv_mmu *state = mmus.lookup((int *)probably);
	nv_u32 index;

	if (state && id && state->id == id)
		return state;
	state = nv_find_mmu(id, kvm, make, &index);
	if (state)
		*probably = index;
	return state;
}

nv_inline void nv_drop_mmu(nv_u64 id)
{
	nv_u32 *found = mmu_index.lookup(&id), index;
	struct nv_heads *at = nv_heads();
	struct nv_mmu *state;

	if (!found || !at)
		return;
	index = *found;
	mmu_index.delete(&id);
	state = nv_mmu_at(index);
	if (state)
		nv_give_mmu(at, state, index);
}

#endif /* BPF_F_TABLE */
#endif /* NV_ROWS_H */
