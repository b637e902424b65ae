/* SPDX-License-Identifier: GPL-2.0-only
 *
 * Calls that are under way: from a begin to its end, and what is told by being inside one.
 */
#ifndef NV_CALLS_H
#define NV_CALLS_H

#include "nvscope.h"

#ifdef BPF_F_TABLE

/* Start times: zero when the task is not inside that point's function. */
#define NV_SKIP 1 /* inside, in a call that is not counted */

/* A call whose end was missed leaves its start time. So what is told by being inside a call also
 * keeps a word that lies on the task's stack for as long as the call runs, and where: see nv_inside.
 */
struct nv_frame {
	nv_u64 at;
	nv_u64 word;
};

#define NV_LAST_POINTS 4 /* those that are counted differ in as many bits */
#define NV_LAST_LABELS 8

/* Where a task, or a CPU, has counted last: see rows.h. */
struct nv_last {
	nv_u32 rows[NV_LAST_POINTS * NV_LAST_LABELS];
	nv_u32 mmu;
	nv_u32 unused;
};

struct nv_inflight {
	nv_u64 start_ns[NV_POINTS];
	struct nv_frame frames[NV_POINTS];
	nv_u64 args[NV_POINTS][NV_ARGS]; /* kprobes only: a return probe has none */
	struct nv_last last;
	nv_u32 reason;     /* enum nv_reason, inside revmap_fallback */
	nv_u32 was_broken; /* the MMU's map, when its shadow unmap began */
	nv_u32 mapped;     /* inside s2_fault: something was mapped, or may be used more freely */
#if NV_EVENTS
	nv_u64 canonical_ipa; /* that this task is about to map, or NV_NO_IPA */
#endif
};

/* Task storage, not a hash of thread ids: a third of the cost, and never full. */
BPF_F_TABLE("task_storage", int, struct nv_inflight, inflight, 0, BPF_F_NO_PREALLOC);

/* The current task's state; NULL, and counted, where there is no memory for it. */
nv_inline struct nv_inflight *nv_task(void)
{
	struct nv_inflight *task = inflight.task_storage_get(
		(void *)bpf_get_current_task_btf(), 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!task)
		nv_lose(NV_LOST_START_FULL);
	return task;
}

/* The same, or NULL where the task is not inside a point's function: nothing is made for it. */
nv_inline struct nv_inflight *nv_task_inside(int point)
{
	struct nv_inflight *task = inflight.task_storage_get(
		(void *)bpf_get_current_task_btf(), 0, 0);

	return task && task->start_ns[point] ? task : 0;
}

#define NV_REGS_SP 31     /* struct pt_regs of arm64, in words: sp behind x0..x30 */
#define NV_RECORD_LINK 8  /* of a frame record (AAPCS64), in bytes: the return address */

/* The argument to keep of a function with so many: `wanted`, where it has that. */
#define NV_FRAME_ARGUMENT(wanted, slots) ((wanted) < (slots) ? (wanted) : 0)

/* Keep a word that tells that a call is under way. Of fentry it is an argument (by its index), which
 * lies in the trampoline's frame: a pointer to something of this call's own, as no other call has it
 * there. Of a kprobe it is the caller's return address, in the frame record where the stack ends.
 */
nv_inline void nv_keep_frame(struct nv_inflight *task, int point, int typed, const nv_u64 *ctx,
			     int argument)
{
	struct nv_frame *frame = &task->frames[point];

	if (typed) {
		nv_u64 at = (nv_u64)ctx;

		/* Apart from ctx: before 7.3 nothing may be read by a context that was moved. */
		asm volatile("" : "+r"(at));
		frame->at = at + argument * sizeof(*ctx);
		frame->word = ctx[argument];
	} else {
		frame->at = ctx[NV_REGS_SP] + NV_RECORD_LINK;
		frame->word = nv_load64(0, frame->at, 0);
	}
}

/* Whether the task is inside a call whose frame was kept. ctx: the asking program's own, on the same
 * stack. A call that is under way lies further up, and its word with it. One that ended unseen lay
 * below us, or other calls have put their own words there since.
 */
nv_inline int nv_inside(struct nv_inflight *task, int point, const nv_u64 *ctx)
{
	struct nv_frame *frame = &task->frames[point];
	nv_u64 start_ns = task->start_ns[point];

	if (!start_ns)
		return 0;
	if (frame->at > (nv_u64)ctx && nv_load64(0, frame->at, 0) == frame->word)
		return 1;
	nv_stale(point, start_ns);
	task->start_ns[point] = 0;
	return 0;
}

/* The current task enters a function that only matters to what is called in it. */
nv_inline struct nv_inflight *nv_mark(int point, int typed, const nv_u64 *ctx, int argument)
{
	struct nv_inflight *task = nv_task();

	if (task) {
		nv_keep_frame(task, point, typed, ctx, argument);
		task->start_ns[point] = NV_SKIP;
	}
	return task;
}

/* And leaves it. */
nv_inline void nv_unmark(int point)
{
	struct nv_inflight *task = nv_task();

	if (task)
		task->start_ns[point] = 0;
}

/* A call is entered; the task's state, or NULL. */
nv_inline struct nv_inflight *nv_enter(int point, int typed, const nv_u64 *ctx)
{
	struct nv_inflight *task = nv_task();

	if (!task)
		return 0;
	if (task->start_ns[point])
		nv_stale(point, task->start_ns[point]);
	if (!typed) {
		task->args[point][0] = ctx[0];
		task->args[point][1] = ctx[1];
		task->args[point][2] = ctx[2];
		task->args[point][3] = ctx[3];
	}
	return task;
}

/* It begins. The clock is read last, so that nothing of ours is in the duration. */
nv_inline void nv_start(struct nv_inflight *task, int point, int skip)
{
	task->start_ns[point] = skip ? NV_SKIP : bpf_ktime_get_ns();
}

nv_inline struct nv_inflight *nv_begin(int point, int typed, const nv_u64 *ctx, int skip)
{
	struct nv_inflight *task = nv_enter(point, typed, ctx);

	if (task)
		nv_start(task, point, skip);
	return task;
}

/* A call has ended: the task's state, or NULL when there is nothing to count.
 * On return *ns is the call's duration.
 */
nv_inline struct nv_inflight *nv_end_at(int point, nv_u64 now_ns, nv_u64 *ns)
{
	nv_u64 start_ns;
	struct nv_inflight *task = inflight.task_storage_get(
		(void *)bpf_get_current_task_btf(), 0, 0);

	if (!task || !task->start_ns[point]) {
		nv_miss(point, NV_EDGE_ENTRY);
		return 0;
	}
	start_ns = task->start_ns[point];
	task->start_ns[point] = 0;
	if (start_ns == NV_SKIP)
		return 0;
	*ns = now_ns - start_ns;
	return task;
}

/* It ends now. */
nv_inline struct nv_inflight *nv_end(int point, nv_u64 *ns)
{
	return nv_end_at(point, bpf_ktime_get_ns(), ns);
}

#endif /* BPF_F_TABLE */
#endif /* NV_CALLS_H */
