/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The baseline: a monitor written as the original design describes its own
 * (G.-L. Balan, "vTapping cu eBPF", 2021), IPv4 only. BCC's cursor loads each
 * field of a header when it is used; sums are shared by all CPUs and added to
 * atomically; every gap is kept in an array; a pattern is searched byte by
 * byte. Two CPUs that count a sequence number at once lose one of the two.
 */
#include <bcc/proto.h>

#define PACKET_OUTGOING 4 /* linux/if_packet.h */
#define ETHERTYPE_IPV4 0x0800
#define NEXT_ICMP 1
#define NEXT_TCP 6
#define NEXT_UDP 17
#define ICMP_HEADER_BYTES 8
#define ETHERNET_HEADER_BYTES 14
#define INTERRUPTION_NS 2000000000ULL
#define JITTER_VALUES 65536 /* gaps kept of each protocol */
#define MAX_SEARCH_BYTES 5000

enum { TCP, UDP, ICMP, PROTOCOLS };

struct sequence {
	u64 packets, reverse, small, big, number;
};

BPF_ARRAY(packets, u64, PROTOCOLS);
BPF_ARRAY(throughput, u64, PROTOCOLS);
BPF_ARRAY(goodput, u64, PROTOCOLS);
BPF_ARRAY(last_times, u64, PROTOCOLS);
BPF_ARRAY(jitter_counts, u64, PROTOCOLS);
BPF_ARRAY(jitter_values, u64, PROTOCOLS *JITTER_VALUES);
BPF_ARRAY(sequences, struct sequence, PROTOCOLS);

static void count_jitter(int protocol)
{
	u64 now = bpf_ktime_get_ns();
	u64 *last = last_times.lookup(&protocol);
	u64 *count = jitter_counts.lookup(&protocol);
	u64 gap;
	int slot;

	if (!last || !count)
		return;
	gap = now - *last;
	*last = now;
	if (gap > INTERRUPTION_NS)
		return;
	slot = protocol * JITTER_VALUES + (*count & (JITTER_VALUES - 1));
	jitter_values.update(&slot, &gap);
	lock_xadd(count, 1);
}

static void count_sequence(int protocol, u32 number)
{
	struct sequence *sequence = sequences.lookup(&protocol);
	s32 step;

	if (!sequence)
		return;
	step = number - sequence->number;
	sequence->number = number;
	if (!sequence->packets++)
		step = 1;
	if (step < 0)
		sequence->reverse++;
	else if (step > SEQUENCE_THRESHOLD)
		sequence->big++;
	else if (step != 1)
		sequence->small++;
}

#ifdef SEQUENCE_PATTERN
/* Byte by byte; a load behind the end of the packet ends the program. */
static int find_pattern(struct __sk_buff *skb, int payload_offset)
{
	u32 window = 0;
	int i;

	for (i = 0; i < MAX_SEARCH_BYTES; i++) {
		window = window << 8 | load_byte(skb, payload_offset + i);
		if (i >= 3 && window == SEQUENCE_PATTERN)
			return i - 3;
	}
	return -1;
}
#endif

int monitor(struct __sk_buff *skb)
{
	u8 *cursor = 0;
	struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
	struct ip_t *ip;
	int protocol, header_bytes, payload_offset;
	u64 *packet_cell, *frame_bytes, *payload_bytes;
	u32 ip_bytes, content_bytes, number = 0;

	if (skb->pkt_type == PACKET_OUTGOING || ethernet->type != ETHERTYPE_IPV4)
		return 0;
	ip = cursor_advance(cursor, sizeof(*ip));
	ip_bytes = ip->hlen * 4;
	if (ip->nextp == NEXT_TCP) {
		struct tcp_t *tcp = cursor_advance(cursor, sizeof(*tcp));

		protocol = TCP;
		header_bytes = tcp->offset * 4;
		number = tcp->seq_num;
	} else if (ip->nextp == NEXT_UDP) {
		protocol = UDP;
		header_bytes = sizeof(struct udp_t);
	} else if (ip->nextp == NEXT_ICMP) {
		protocol = ICMP;
		header_bytes = ICMP_HEADER_BYTES;
	} else {
		return 0;
	}
	payload_offset = ETHERNET_HEADER_BYTES + ip_bytes + header_bytes;
	content_bytes = ip->tlen - ip_bytes - header_bytes;

	packet_cell = packets.lookup(&protocol);
	frame_bytes = throughput.lookup(&protocol);
	payload_bytes = goodput.lookup(&protocol);
	if (!packet_cell || !frame_bytes || !payload_bytes)
		return 0;
	lock_xadd(packet_cell, 1);
	lock_xadd(frame_bytes, skb->len);
	lock_xadd(payload_bytes, content_bytes);
	count_jitter(protocol);
	if (protocol != TCP) {
#ifdef SEQUENCE_PATTERN
		int pattern_at = find_pattern(skb, payload_offset);

		if (pattern_at < 0)
			return 0;
		payload_offset += pattern_at;
#endif
		number = load_word(skb, payload_offset + SEQUENCE_OFFSET);
	}
	count_sequence(protocol, number);
	return 0;
}
