/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The least a program can do that measures headers and times: one load of 74
 * bytes (Ethernet, IPv6 and TCP headers), one reading of the clock, one
 * addition to a cell of this CPU.  Without one of them it shows what that one takes.
 */
BPF_PERCPU_ARRAY(cells, u64, 1);

int monitor(struct __sk_buff *skb)
{
	u64 head[10] = {}, now = 0, *cell;
	int zero = 0;

#ifndef WITHOUT_LOAD
	if (bpf_skb_load_bytes(skb, 0, head, 74) < 0)
		return 0;
#endif
#ifndef WITHOUT_CLOCK
	now = bpf_ktime_get_ns();
#endif
	cell = cells.lookup(&zero);
	if (cell)
		*cell += now + head[3];
	return 0;
}
