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
	__u32 words[2];
};
BPF_HASH(rules_0, struct rules_0_key, __u32, 8);

struct rules_1_key {
	__u32 words[5];
};
BPF_HASH(rules_1, struct rules_1_key, __u32, 8);

BPF_ARRAY(rule_filters, __u64, 4);

static __always_inline int match_rule(const struct packet *packet)
{
	__u32 rule = NO_RULE;

	if (packet->family == 4 && packet->has_ports && packet->protocol == PROTOCOL_UDP) {
		struct rules_0_key key = { { packet->saddr[0], packet->dport } };
		__u32 bit = hash_key(key.words, 2, 7);
		__u32 place = 0 + bit / 64, *found = 0;
		__u64 *filter = rule_filters.lookup(&place);

		if (filter && *filter >> bit % 64 & 1)
			found = rules_0.lookup(&key);
		if (found && *found < rule)
			rule = *found;
	}
	if (rule > 8 && packet->family == 6 && packet->has_ports) {
		struct rules_1_key key = { { packet->saddr[0], packet->saddr[1], packet->saddr[2], packet->saddr[3], packet->sport << 16 | packet->dport } };
		__u32 bit = hash_key(key.words, 5, 7);
		__u32 place = 2 + bit / 64, *found = 0;
		__u64 *filter = rule_filters.lookup(&place);

		if (filter && *filter >> bit % 64 & 1)
			found = rules_1.lookup(&key);
		if (found && *found < rule)
			rule = *found;
	}
	return rule;
}
