#define INTERFACES 1
#define ROWS 1
#define SEQUENCE_THRESHOLD 2
#define SEQUENCE_OFFSET 65535
#define SEQUENCE_PATTERN 0x00000000ULL
#define DIRECTION_IN
#define MEASURE_THROUGHPUT
#define MEASURE_GOODPUT
#define MEASURE_JITTER
#define MEASURE_SEQUENCE

static __always_inline int match_rule(const struct packet *packet)
{
	__u32 rule = NO_RULE;

	return 0;
}
