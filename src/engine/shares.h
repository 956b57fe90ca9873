/* SPDX-License-Identifier: Apache-2.0 */
/* engine/shares.h - who has how many of the slots for attempts.
 *
 * The quarter rule: nobody takes more than a quarter of the slots that all others leave
 * free, so however many receivers hang, there is room for the next one. The table
 * counts what is spread over the courier loops: attempts at one socket address, or for one
 * caller. A name that nobody is counted under is forgotten. Any thread. */
#ifndef RBK_ENGINE_SHARES_H
#define RBK_ENGINE_SHARES_H

#include "base/str.h"

/* What one may have of `slots`, of which others have some. At least 1. */
static inline size_t rbk_share_of(size_t slots, size_t others)
{
    size_t quarter = slots > others ? (slots - others) / 4 : 0;
    return quarter ? quarter : 1;
}

typedef struct rbk_shares rbk_shares;

/* Nobody gets more than `most`, nor more than its share of `slots`. */
rbk_shares *rbk_shares_new(size_t slots, size_t most);
void rbk_shares_free(rbk_shares *s);
/* One more for `name`, while `all` of the slots are taken (by it, too)? False: it has
 * its share. */
bool rbk_shares_enter(rbk_shares *s, rbk_str name, size_t all);
void rbk_shares_leave(rbk_shares *s, rbk_str name);

#endif
