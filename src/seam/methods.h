/* SPDX-License-Identifier: Apache-2.0 */
/* seam/methods.h - the registry of methods: a name to what runs it.
 *
 * C functions are added by their exact names before the server starts. Rules (the [method "…"]
 * sections) give patterns their settings and perhaps a handler of their own: a worker, an
 * upstream. They may be replaced while the server runs. Entries are never removed, so a
 * pointer to one stays valid; one whose rule has gone is not found any more. Any thread. */
#ifndef RBK_SEAM_METHODS_H
#define RBK_SEAM_METHODS_H

#include <stdatomic.h>

#include "base/str.h"
#include "ringback.h"
#include "seam/about.h"

typedef struct rbk_methods rbk_methods;

/* What runs calls. Counted; whoever owns `user` may end it when the count shows that no call
 * holds the handler any more. */
typedef struct rbk_handler {
    rbk_method_fn fn;
    void *user;
    atomic_uint refs;
} rbk_handler;

rbk_handler *rbk_handler_new(rbk_method_fn fn, void *user); /* NULL when memory is out */
rbk_handler *rbk_handler_ref(rbk_handler *h);
void rbk_handler_unref(rbk_handler *h); /* NULL is legal */

/* What may be asked for a run of a method. */
typedef struct rbk_method_settings {
    int64_t timeout_ms;   /* of one run; 0: the general one */
    unsigned concurrency; /* calls at once; 0: as many as there are threads for */
    bool once;            /* at-most-once: the start is stored before it runs */
    const char *forward;  /* headers of the request that a call tells, comma-separated; NULL: none.
                             The registry keeps a copy until its end */
} rbk_method_settings;

/* One C function, or one pattern. Its calls are a pool: they share its threads and its lane. */
typedef struct rbk_method_entry {
    rbk_str name;  /* exact, or a pattern with `*` */
    size_t index;  /* 0, 1, 2 … in order of adding */
    rbk_str lane;  /* "run:<name>": its jobs wait there */
    unsigned flags;
    rbk_about *about; /* what a C function says of itself; or NULL */
    rbk_handler *own;   /* of a C function, which never changes; or NULL */
    const char *module; /* that it comes from; NULL: the program itself */
    atomic_int_fast64_t timeout_ms;
    atomic_uint concurrency;
    atomic_bool once;
    _Atomic(const char *) forward; /* valid as long as the registry */
    /* The registry's: */
    rbk_handler *provider; /* of its rule; or NULL */
    size_t literal;        /* bytes before the first `*` */
    bool glob, ruled;      /* it has a `*`; a rule is in force for it */
    bool hidden;           /* its own function is not wanted any more */
} rbk_method_entry;

/* A rule: exact name before longest literal prefix before the order of the list. */
typedef struct rbk_method_setup {
    const char *pattern;
    rbk_handler *provider; /* the list keeps its reference; NULL: the rule is settings alone */
    rbk_method_settings set;
} rbk_method_setup;

rbk_methods *rbk_methods_new(void);
void rbk_methods_free(rbk_methods *m);

/* A C function, before the server starts. Strings are copied. RBK_E_INVAL for a name that is
 * empty, reserved ("rpc." in front) or longer than RBK_METHOD_NAME_MAX; RBK_E_STATE when it is
 * taken; RBK_E_CONFIG for a malformed schema; RBK_E_NOMEM: err->detail says it without the name.
 * `module` outlives the registry. */
int rbk_methods_add(rbk_methods *m, const rbk_method *method, const char *module, rbk_error *err);
/* The function of the i-th entry is found, or not. */
void rbk_methods_hide(rbk_methods *m, size_t i, bool hide);
/* These are the rules from now on. RBK_E_STATE: a rule with a provider has the name of a C
 * function (*ret_at says which); RBK_E_NOMEM. After a failure all is as it was. */
int rbk_methods_use(rbk_methods *m, const rbk_method_setup *rules, size_t n, size_t *ret_at);

/* The pool that calls of this name belong to, or NULL: nothing runs them. A C function of the
 * name; otherwise the first rule that fits, where that or one behind it has a provider.
 * Names with "rpc." in front fit no pattern. */
const rbk_method_entry *rbk_methods_find(rbk_methods *m, rbk_str name);
/* What runs a call of this name now, a reference; NULL: nothing. */
rbk_handler *rbk_methods_handler(rbk_methods *m, rbk_str name);

/* These are the descriptions of methods that do not describe themselves, or are described better,
 * from now on; the registry takes references. Of two with one name the last counts. RBK_E_NOMEM: all
 * is as it was. */
int rbk_methods_describe(rbk_methods *m, rbk_about *const *list, size_t n);
/* Do the params of a call of this name fit what is known of them? On false `ret` says why not. */
bool rbk_methods_fit(rbk_methods *m, rbk_str name, rbk_str params, rbk_schema_fault *ret);

/* What the registry would show to a caller: a method that is run, with what is known of it (or
 * NULL); or a pattern (`glob`) whose names are run. In no order, each name once. With the registry's
 * lock held: `fn` must not ask it anything. */
typedef void (*rbk_shown_fn)(void *user, rbk_str name, const rbk_about *about, bool glob);
void rbk_methods_show(rbk_methods *m, rbk_shown_fn fn, void *user);
/* Rises whenever that may have changed. */
uint64_t rbk_methods_version(const rbk_methods *m);

size_t rbk_methods_count(rbk_methods *m); /* entries, those without a rule too */
const rbk_method_entry *rbk_methods_at(rbk_methods *m, size_t i);

/* Does the pattern fit? `*` is any run of characters, dots included. */
bool rbk_method_fits(const char *pattern, rbk_str name);

enum { RBK_METHOD_NAME_MAX = 255 };

#endif
