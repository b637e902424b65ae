/* SPDX-License-Identifier: GPL-2.0-only
 *
 * stats: what the kernel tells of our programs, for readers of the pins. An
 * iterator, whose pin is read as a file is: with a program's own descriptor
 * a reader could attach it again.
 */
#include "nvscope.h"

/* Our programs' ids; the values mean nothing. */
BPF_F_TABLE("hash", nv_u32, nv_u64, ours, NV_EDGES * NV_POINTS, 0);

/* Called for each BPF program of the host, and once at the end with none. */
int bpf_iter__bpf_prog(unsigned long long *ctx)
{
	nv_u64 meta = ctx[0], program = ctx[1], aux, percpu;
	struct nv_stats stats = {};
	int cpu;

	if (!program)
		return 0;
	aux = nv_load64(0, program, NV_OFFSET_PROG_AUX);
	stats.id = nv_load32(0, aux, NV_OFFSET_AUX_ID);
	if (!ours.lookup(&stats.id))
		return 0;
	percpu = nv_load64(0, program, NV_OFFSET_PROG_STATS);
	for (cpu = 0; cpu < NV_CPUS; cpu++) {
		nv_u64 of_cpu = percpu + nv_load64(0, NV_PER_CPU_OFFSET, 8 * cpu);

		stats.runs += nv_load64(0, of_cpu, NV_OFFSET_STATS_RUNS);
		stats.time_ns += nv_load64(0, of_cpu, NV_OFFSET_STATS_TIME);
		stats.misses += nv_load64(0, of_cpu, NV_OFFSET_STATS_MISSES);
	}
	bpf_seq_write((struct seq_file *)nv_load64(1, meta, NV_OFFSET_META_SEQ), &stats,
		      sizeof(stats));
	return 0;
}
