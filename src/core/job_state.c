/* SPDX-License-Identifier: Apache-2.0 */
/* core/job_state.c - see job_state.h. Who moves a job asks here first, then makes the
 * move durable, then changes memory. The table is also in docs/jobs.md; a test
 * compares the two. */
#include "core/job_state.h"

/* A cell left out is a move that does not exist. */
static const unsigned char move[RBK_JOB_STATE_N][RBK_EV_N] = {
    [RBK_JOB_HELD] = {[RBK_EV_RELEASE] = RBK_JOB_QUEUED,
                      [RBK_EV_CANCEL] = RBK_JOB_DUE,  /* the response is -32005 */
                      [RBK_EV_EXPIRE] = RBK_JOB_DUE}, /* the response is -32002 */
    [RBK_JOB_QUEUED] = {[RBK_EV_CLAIM] = RBK_JOB_RUNNING,
                        [RBK_EV_CANCEL] = RBK_JOB_DUE,
                        [RBK_EV_EXPIRE] = RBK_JOB_DUE},
    [RBK_JOB_RUNNING] = {[RBK_EV_RESULT] = RBK_JOB_DUE,
                         [RBK_EV_DONE] = RBK_JOB_DELIVERED, /* nothing to send */
                         [RBK_EV_LEASE_LOST] = RBK_JOB_QUEUED,
                         [RBK_EV_LEASE_LOST_ONCE] = RBK_JOB_DUE, /* the response is -32004 */
                         [RBK_EV_CANCEL] = RBK_JOB_DUE,
                         [RBK_EV_EXPIRE] = RBK_JOB_DUE},
    [RBK_JOB_DUE] = {[RBK_EV_SEND] = RBK_JOB_SENDING,
                     [RBK_EV_GIVE_UP] = RBK_JOB_DEAD, /* too old, and its receiver is paused */
                     [RBK_EV_REFUSE] = RBK_JOB_DEAD,  /* the policy of the day forbids it */
                     [RBK_EV_CANCEL] = RBK_JOB_CANCELLED,
                     [RBK_EV_ANSWERED] = RBK_JOB_DELIVERED, /* answered inline */
                     [RBK_EV_COLLECT] = RBK_JOB_COLLECTED}, /* of a whole-batch callback */
    [RBK_JOB_SENDING] = {[RBK_EV_ACK] = RBK_JOB_DELIVERED,
                         [RBK_EV_RETRY] = RBK_JOB_DUE,
                         [RBK_EV_GIVE_UP] = RBK_JOB_DEAD,
                         [RBK_EV_REFUSE] = RBK_JOB_DEAD,
                         [RBK_EV_LEASE_LOST] = RBK_JOB_DUE,
                         /* the result is there: how often the method ran matters no more */
                         [RBK_EV_LEASE_LOST_ONCE] = RBK_JOB_DUE,
                         /* remembered: the outcome is then ACK or ACK_CANCELLED */
                         [RBK_EV_CANCEL] = RBK_JOB_SENDING,
                         [RBK_EV_ACK_CANCELLED] = RBK_JOB_CANCELLED},
    [RBK_JOB_DELIVERED] = {[RBK_EV_REDRIVE] = RBK_JOB_DUE},
    [RBK_JOB_DEAD] = {[RBK_EV_REDRIVE] = RBK_JOB_DUE},
};

static bool is_state(rbk_job_state s)
{
    return (int)s > 0 && (int)s < RBK_JOB_STATE_N;
}

int rbk_job_next(rbk_job_state from, rbk_job_event event, rbk_job_state *ret_to)
{
    if (!is_state(from) || (int)event < 0 || event >= RBK_EV_N || move[from][event] == 0)
        return RBK_E_STATE;
    *ret_to = (rbk_job_state)move[from][event];
    return 0;
}

bool rbk_job_is_terminal(rbk_job_state s)
{
    static const bool terminal[RBK_JOB_STATE_N] = {
#define X(name, value, is_terminal) [value] = is_terminal,
        RBK_JOB_STATE_MAP(X)
#undef X
    };
    return is_state(s) && terminal[s];
}

const char *rbk_job_state_name(rbk_job_state s)
{
    static const char *const names[RBK_JOB_STATE_N] = {
#define X(name, value, is_terminal) [value] = #name,
        RBK_JOB_STATE_MAP(X)
#undef X
    };
    return is_state(s) ? names[s] : "?";
}

const char *rbk_job_event_name(rbk_job_event e)
{
    static const char *const names[RBK_EV_N] = {
#define X(name) #name,
        RBK_JOB_EVENT_MAP(X)
#undef X
    };
    return (int)e >= 0 && e < RBK_EV_N ? names[e] : "?";
}
