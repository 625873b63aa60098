// Instructions in which the lanes of a warp meet: shuffles, votes, matches, reductions. That all
// lanes named by the member mask are there is seen to by exec.c before the instruction runs; lanes
// with different masks form groups that do not see each other.
#include "runtime/emulator/engine/lanes.h"

void op_nothing(Cx *c, const Insn *i) { (void)c, (void)i; }

void op_warp_sync(Cx *c, const Insn *i) {
    (void)i;
    c->warp->since = ++c->time;
}

// Lanes of `left` that gave the same member mask as its lowest one.
static uint32_t next_group(const u32a *members, uint32_t left) {
    uint32_t m = members[__builtin_ctz(left)], group = 0;
    for (uint32_t rest = left; rest; rest &= rest - 1) {
        uint32_t k = (uint32_t)__builtin_ctz(rest);
        if (members[k] == m) group |= 1u << k;
    }
    return group;
}
#define EACH_GROUP(members)                                                                        \
    for (uint32_t left = c->mask, group; left && (group = next_group(members, left), true);        \
         left &= ~group)
#define EACH_LANE(k, mask)                                                                         \
    for (uint32_t rest_##k = (mask), k; rest_##k && (k = (uint32_t)__builtin_ctz(rest_##k), true); \
         rest_##k &= rest_##k - 1)

// ---- shuffles -----------------------------------------------------------------------------------

typedef enum { SHFL_up, SHFL_down, SHFL_bfly, SHFL_idx } Shuffle;

// The lane that `lane` reads from; false: out of its segment, it reads itself.
static inline bool shuffle_from(Shuffle how, int lane, uint32_t b, uint32_t bound, int *from) {
    int segment = (int)(bound >> 8 & 31), clamp = (int)(bound & 31), distance = (int)(b & 31);
    int last = (lane & segment) | (clamp & ~segment), first = lane & segment;
    bool inside = true;
    switch (how) {
    case SHFL_up:
        *from = lane - distance;
        inside = *from >= last;
        break;
    case SHFL_down:
        *from = lane + distance;
        inside = *from <= last;
        break;
    case SHFL_bfly:
        *from = lane ^ distance;
        inside = *from <= last;
        break;
    case SHFL_idx:
        *from = first | (distance & ~segment);
        inside = *from <= last;
        break;
    }
    if (!inside) *from = lane;
    return inside;
}

static void shuffle(Cx *c, const Insn *i, Shuffle how) {
    u32a *d = place(c, i->r[0]);
    const u32a *b = place(c, i->r[3]), *bound = place(c, i->r[4]), *members = place(c, i->r[5]);
    uint32_t a[LANES], inside = 0;
    memcpy(a, place(c, i->r[2]), sizeof a);
    c->warp->since = ++c->time;
    EACH_LANE(k, c->mask) {
        int from;
        if (shuffle_from(how, (int)k, b[k], bound[k], &from)) inside |= 1u << k;
        if (!(members[k] >> from & 1) || !(c->mask >> from & 1)) {
            fault_at(c, EMU_FAULT_divergence, i->line, k, 0,
                     "shuffle reads lane %d, which is not among the lanes 0x%08x that take part",
                     from, members[k] & c->mask);
            return;
        }
        d[k] = a[from];
    }
    *(u32a *)place(c, i->r[1]) = inside;
}
void op_shfl_up(Cx *c, const Insn *i) { shuffle(c, i, SHFL_up); }
void op_shfl_down(Cx *c, const Insn *i) { shuffle(c, i, SHFL_down); }
void op_shfl_bfly(Cx *c, const Insn *i) { shuffle(c, i, SHFL_bfly); }
void op_shfl_idx(Cx *c, const Insn *i) { shuffle(c, i, SHFL_idx); }

// ---- votes --------------------------------------------------------------------------------------

typedef enum { VOTE_all, VOTE_any, VOTE_uni } Vote;

static void vote(Cx *c, const Insn *i, Vote how) {
    const u32a *members = place(c, i->r[2]);
    uint32_t p = *(u32a *)place(c, i->r[1]), r = 0;
    c->warp->since = ++c->time;
    EACH_GROUP(members) {
        uint32_t yes = p & group;
        bool holds = how == VOTE_any ? yes != 0 : yes == group || (how == VOTE_uni && !yes);
        if (holds) r |= group;
    }
    *(u32a *)place(c, i->r[0]) = r;
}
void op_vote_all(Cx *c, const Insn *i) { vote(c, i, VOTE_all); }
void op_vote_any(Cx *c, const Insn *i) { vote(c, i, VOTE_any); }
void op_vote_uni(Cx *c, const Insn *i) { vote(c, i, VOTE_uni); }

void op_vote_ballot(Cx *c, const Insn *i) {
    const u32a *members = place(c, i->r[2]);
    uint32_t p = *(u32a *)place(c, i->r[1]);
    u32a *d = place(c, i->r[0]);
    uint32_t r[LANES] = {0};
    c->warp->since = ++c->time;
    EACH_GROUP(members) EACH_LANE(k, group) r[k] = p & group;
    memcpy(d, r, sizeof r);
}

void op_activemask(Cx *c, const Insn *i) {
    U8 *d = place(c, i->r[0]);
    for (int k = 0; k < 4; k++) d[k] = (U8){0} + c->mask;
}

void op_elect(Cx *c, const Insn *i) {
    const u32a *members = place(c, i->r[2]);
    uint32_t leaders = 0, r[LANES] = {0};
    c->warp->since = ++c->time;
    EACH_GROUP(members) {
        uint32_t leader = (uint32_t)__builtin_ctz(group);
        leaders |= 1u << leader;
        EACH_LANE(k, group) r[k] = leader;
    }
    memcpy(place(c, i->r[0]), r, sizeof r);
    *(u32a *)place(c, i->r[1]) = leaders;
}

// ---- matches ------------------------------------------------------------------------------------

static uint64_t value_of(const void *x, bool wide, uint32_t k) {
    return wide ? ((const u64a *)x)[k] : ((const u32a *)x)[k];
}
static void match_any(Cx *c, const Insn *i, bool wide) {
    const void *x = place(c, i->r[1]);
    const u32a *members = place(c, i->r[2]);
    uint32_t r[LANES] = {0};
    c->warp->since = ++c->time;
    EACH_GROUP(members)
    EACH_LANE(k, group)
    EACH_LANE(j, group) if (value_of(x, wide, j) == value_of(x, wide, k)) r[k] |= 1u << j;
    memcpy(place(c, i->r[0]), r, sizeof r);
}
static void match_all(Cx *c, const Insn *i, bool wide) {
    const void *x = place(c, i->r[2]);
    const u32a *members = place(c, i->r[3]);
    uint32_t r[LANES] = {0}, p = 0;
    c->warp->since = ++c->time;
    EACH_GROUP(members) {
        bool same = true;
        uint64_t first = value_of(x, wide, (uint32_t)__builtin_ctz(group));
        EACH_LANE(k, group) same = same && value_of(x, wide, k) == first;
        if (!same) continue;
        p |= group;
        EACH_LANE(k, group) r[k] = group;
    }
    memcpy(place(c, i->r[0]), r, sizeof r);
    *(u32a *)place(c, i->r[1]) = p;
}
void op_match_any_w(Cx *c, const Insn *i) { match_any(c, i, false); }
void op_match_any_l(Cx *c, const Insn *i) { match_any(c, i, true); }
void op_match_all_w(Cx *c, const Insn *i) { match_all(c, i, false); }
void op_match_all_l(Cx *c, const Insn *i) { match_all(c, i, true); }

// ---- reductions ---------------------------------------------------------------------------------

#define REDUX(name, T, expression)                                                                 \
    void op_redux_##name(Cx *c, const Insn *i) {                                                   \
        const T *x = place(c, i->r[1]);                                                            \
        const u32a *members = place(c, i->r[2]);                                                   \
        T r[LANES] = {0};                                                                          \
        c->warp->since = ++c->time;                                                                \
        EACH_GROUP(members) {                                                                      \
            T a = x[__builtin_ctz(group)];                                                         \
            EACH_LANE(k, group &(group - 1)) {                                                     \
                T b = x[k];                                                                        \
                a = (T)(expression);                                                               \
            }                                                                                      \
            EACH_LANE(k, group) r[k] = a;                                                          \
        }                                                                                          \
        memcpy(place(c, i->r[0]), r, sizeof r);                                                    \
    }
REDUX(add, u32a, a + b)
REDUX(min_u, u32a, a < b ? a : b)
REDUX(max_u, u32a, a > b ? a : b)
REDUX(min_s, s32a, a < b ? a : b)
REDUX(max_s, s32a, a > b ? a : b)
REDUX(and, u32a, a &b)
REDUX(or, u32a, a | b)
REDUX(xor, u32a, a ^ b)

// ---- addresses, clocks --------------------------------------------------------------------------

// A generic address carries its space in the highest byte; that of global memory is 0.
static void is_space(Cx *c, const Insn *i, uint64_t tag) {
    const u64a *x = place(c, i->r[1]);
    uint32_t m = 0;
    for (int k = 0; k < LANES; k++) m |= (uint32_t)(x[k] >> 56 == tag) << k;
    *(u32a *)place(c, i->r[0]) = m;
}
void op_isspace_global(Cx *c, const Insn *i) { is_space(c, i, 0); }
void op_isspace_shared(Cx *c, const Insn *i) { is_space(c, i, SPACE_shared); }
void op_isspace_local(Cx *c, const Insn *i) { is_space(c, i, SPACE_local); }
void op_isspace_const(Cx *c, const Insn *i) { is_space(c, i, SPACE_const); }
VECTOR1(op_cvta_shared, L4, 8, a + GENERIC_TAG(SPACE_shared))
VECTOR1(op_cvta_local, L4, 8, a + GENERIC_TAG(SPACE_local))
VECTOR1(op_cvta_const, L4, 8, a + GENERIC_TAG(SPACE_const))
VECTOR1(op_cvta_param, L4, 8, a + GENERIC_TAG(SPACE_param))
VECTOR1(op_cvta_to, L4, 8, a & ~(UINT64_C(255) << 56))

// The instructions that this block of threads has run: what a clock may say, and the same each time.
void op_clock_w(Cx *c, const Insn *i) {
    U8 *d = place(c, i->r[0]);
    for (int k = 0; k < 4; k++)
        d[k] = (U8){0} + (uint32_t)(c->counts.warp_instructions - c->clock_start);
}
void op_clock_l(Cx *c, const Insn *i) {
    L4 *d = place(c, i->r[0]);
    for (int k = 0; k < 8; k++) d[k] = (L4){0} + (c->counts.warp_instructions - c->clock_start);
}
