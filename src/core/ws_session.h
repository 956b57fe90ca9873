/* SPDX-License-Identifier: Apache-2.0 */
/* core/ws_session.h - callbacks to the caller's own websocket: what they are called.
 *
 * A caller writes "ws:". A session is who may have the response: the caller's name and a token that
 * the handshake gave to the client. Stored jobs name it by a hash of both, "ws:<hash>", so that
 * nothing in the store opens it, nobody else's name fits with the same token, and a server
 * that was killed knows it again without a table of sessions. Its lane is "send:ws:<hash>".
 * Pure. */
#ifndef RBK_CORE_WS_SESSION_H
#define RBK_CORE_WS_SESSION_H

#include "base/buf.h"

enum {
    RBK_SESSION_RANDOM = 32, /* bytes of a token */
    RBK_SESSION_TOKEN = 43,  /* its text, base64url */
    RBK_SESSION_NAME = 3 + 43,
    RBK_SESSION_LANE = 5 + RBK_SESSION_NAME
};

/* The text of a token, NUL-terminated. */
void rbk_session_token(const uint8_t random[RBK_SESSION_RANDOM], char out[RBK_SESSION_TOKEN + 1]);
/* Is it such a text, in its one spelling? */
bool rbk_session_is_token(rbk_str text);
/* "ws:<hash>", NUL-terminated; an absent caller is the anonymous one. False: memory is out. */
bool rbk_session_name(rbk_str caller, rbk_str token, char out[RBK_SESSION_NAME + 1]);

/* Is this what a caller writes? */
bool rbk_session_is_asked(rbk_str callback);
/* Is this what a stored job has? Whoever reads a caller's text asks that of none. */
bool rbk_session_is_name(rbk_str callback);
bool rbk_session_is_lane(rbk_str lane); /* "send:ws:…" */

/* Append the message: the response object with ,"ringback":{"job":"…","attempt":n} as its last
 * member. */
void rbk_session_write(rbk_buf *b, rbk_str response, rbk_str job, uint32_t attempt);

#endif
