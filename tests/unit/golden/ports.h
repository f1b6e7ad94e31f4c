#define INTERFACES 1
#define ROWS 1
#define SEQUENCE_THRESHOLD 2
#define DIRECTION_IN
#define MEASURE_THROUGHPUT
#define MEASURE_GOODPUT
#define MEASURE_JITTER
#define MEASURE_SEQUENCE
#define RULES_READ_PORTS

static __always_inline int match_rule(const struct packet *packet)
{
	__u32 rule = NO_RULE;

	if (rule > 0 &&
	    (packet->has_ports && (packet->sport == 0)) &&
	    (packet->has_ports && (packet->dport == 65535)))
		return 0;
	if (rule > 1 &&
	    (packet->has_ports && ((packet->sport >= 1000 && packet->sport <= 2000))) &&
	    (packet->has_ports && (packet->dport == 1 || (packet->dport >= 5 && packet->dport <= 9))) &&
	    (packet->protocol == PROTOCOL_UDP))
		return 1;
	return rule;
}
