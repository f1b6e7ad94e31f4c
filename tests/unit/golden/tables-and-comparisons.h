#define INTERFACES 1
#define ROWS 1
#define SEQUENCE_THRESHOLD 2
#define DIRECTION_IN
#define MEASURE_THROUGHPUT
#define MEASURE_GOODPUT
#define MEASURE_JITTER
#define MEASURE_SEQUENCE
#define RULES_READ_PORTS

struct rules_0_key {
	__u32 words[1];
};
BPF_HASH(rules_0, struct rules_0_key, __u32, 8);

static __always_inline int match_rule(const struct packet *packet)
{
	__u32 rule = NO_RULE;

	if (packet->family == 4 && packet->protocol == PROTOCOL_TCP) {
		struct rules_0_key key = { { packet->saddr[0] & bpf_htonl(0xffff0000) } };
		__u32 *found = rules_0.lookup(&key);

		if (found && *found < rule)
			rule = *found;
	}
	if (rule > 0 &&
	    !((packet->family == 4 && packet->saddr[0] == bpf_htonl(0x0a000001))))
		return 0;
	if (rule > 9 &&
	    (packet->has_ports && ((packet->sport >= 1000 && packet->sport <= 2000))))
		return 9;
	return rule;
}
