/* SPDX-License-Identifier: Apache-2.0 */
/* app/main.c - the program `ringback`: a table of commands, and help about them. */
#include "app/app.h"

#include <stdio.h>

#define ADMIN_HELP                                                                                 \
    "      --admin URL        the server's admin.listen (RINGBACK_ADMIN, else\n"                   \
    "                         http://127.0.0.1:7601), or unix:/path of its socket\n"               \
    "      --token-file FILE  its token; the file's owner alone may read it\n"                     \
    "      --json             print JSON, one value a line\n"

static const rbk_command commands[] = {
    {.name = "serve", .words = "[-c FILE] [--set KEY=VALUE]...", .run = rbk_cmd_serve,
     .summary = "run the server", .settings = true,
     .help = "  -c, --config FILE    read settings from an INI file\n"
             "      --set KEY=VALUE  one setting; stronger than file and environment\n\n"
             "SIGTERM and SIGINT stop it within server.drain; a second one ends it at once,\n"
             "and what is unfinished is in the store. SIGHUP checks the settings anew, and reads\n"
             "the files of keys again.\n"
             "Events go to standard error, one line each.\n"},
    {.name = "demo", .words = "[--port N] [--once]", .run = rbk_cmd_demo,
     .summary = "server, order example and receiver in one: shows the three messages",
     .help = "  -p, --port N  port of the server on 127.0.0.1 (7600; 0 is a free one)\n"
             "      --once    end after the callback came\n"},
    {.name = "listen",
     .words = "[--port N] [--dir DIR] [--status CODE] [--delay MS] [--secret-file FILE] [--public-key KEY]",
     .run = rbk_cmd_listen, .summary = "HTTPS and wss receiver for development: prints callbacks",
     .help = "  -p, --port N         port on 127.0.0.1 (7643; 0 is a free one)\n"
             "  -d, --dir DIR        where the certificate authority ca.pem is kept (else in a\n"
             "                       temporary folder)\n"
             "      --status CODE    HTTP status to answer (200); 300 and up refuses a websocket\n"
             "      --delay MS       wait before each answer\n"
             "      --secret-file FILE   verify signatures by the keys in it (whsec_, whsk_), one\n"
             "                       a line; its owner alone may read it\n"
             "      --public-key KEY   verify signatures by this whpk_ key; may stand several times\n\n"
             "Says of each callback whether it is verified; the answer does not change by it.\n"},
    {.name = "keygen", .words = "[--ed25519]", .run = rbk_cmd_keygen,
     .summary = "print a new key that signs deliveries",
     .help = "      --ed25519   a whsk_ key, and its public whpk_ key on a comment line;\n"
             "                  else a whsec_ secret (HMAC)\n\n"
             "Write it to a file that you alone can read: (umask 077; ringback keygen > keys)\n"},
    {.name = "call", .words = "URL METHOD [PARAMS] [--callback DSN] [--id ID] [--notify] [OPTION]...",
     .run = rbk_cmd_call, .summary = "JSON-RPC client: prints the answer",
     .help = "  PARAMS                  a JSON object or array\n"
             "  --callback DSN          have the response delivered there\n"
             "  --failure-callback DSN  an error response goes there instead\n"
             "  --wait S                answer with the result if it is there in S seconds\n"
             "  --delay S               run no earlier than in S seconds\n"
             "  --deadline T            run nothing after T: 2026-11-23T21:04:05Z, or seconds\n"
             "                          since 1970\n"
             "  --run-timeout S         how long one run of the method may take\n"
             "  --key K                 behind the jobs that have the same key\n"
             "  --idempotency-key K     one job, however often the request comes\n"
             "  --receipt               the job's id in the acknowledgement\n"
             "  --progress              the callback hears how far the method is\n"
             "  --id ID                 id of the request (1)\n"
             "  --notify                no id: a notification, which is not answered\n"
             "  --timeout S             seconds to wait for the answer (60)\n"
             "  --ca FILE               PEM file of authorities to trust, besides the system's\n"
             "  --token-file FILE       file whose one line is the token to show; its owner\n"
             "                          alone may read it\n\n"
             "S may have a fraction, but for --timeout. docs/requests.md says what each of them\n"
             "means, and which need a callback.\n"
             "Exits 0 for a result, 1 for an error or no answer.\n"},
    {.name = "check-dsn", .words = "DSN [-c FILE] [--set KEY=VALUE]...", .run = rbk_cmd_check_dsn,
     .summary = "would this callback be accepted, and which check refuses it",
     .help = "  -c, --config FILE    read settings from an INI file\n"
             "      --set KEY=VALUE  one setting\n\n"
             "Names are not looked up. Exits 0 for accepted, 1 for refused.\n"},
    {.name = "jobs", .words = "list|show|retry|cancel|purge [JOB] [FILTER]...",
     .run = rbk_cmd_jobs, .summary = "look at the jobs of a running server, and change them",
     .help = "  list             jobs, oldest first\n"
             "  show JOB         one job, with its failed attempts\n"
             "  retry            send dead and delivered jobs again, and waiting ones now\n"
             "  cancel           end unfinished jobs\n"
             "  purge            remove ended jobs from the store\n\n"
             "The last three take a JOB, or a filter for many:\n\n"
             "      --state S[,S]      HELD, QUEUED, DUE, DELIVERED, DEAD, CANCELLED\n"
             "      --method NAME      exact, or a prefix with * at its end\n"
             "      --receiver R       https://host:port\n"
             "      --id ID            the caller's own id, as JSON or as text\n"
             "      --caller NAME      who submitted it\n"
             "      --from T, --to-time T   accepted from T to before T: 2026-11-23T21:04:05Z, a\n"
             "                         day, or seconds since 1970\n"
             "      --all              every job, when there is no filter\n"
             "      --to DSN           retry: to this callback, and no longer the job's own\n"
             "      --limit N          list: at most so many (1000)\n" ADMIN_HELP},
    {.name = "receivers", .words = "list | pause RECEIVER | resume RECEIVER",
     .run = rbk_cmd_receivers, .summary = "receivers of a running server; hold one, let it go",
     .help = "  pause            nothing is sent to it, also after a restart\n"
             "  resume           it is sent to again, at once\n\n" ADMIN_HELP},
    {.name = "stats", .words = "[--json]", .run = rbk_cmd_stats,
     .summary = "the numbers of a running server", .help = ADMIN_HELP},
    {.name = "store", .words = "backup FILE [-c FILE] [--set KEY=VALUE]...", .run = rbk_cmd_store,
     .summary = "copy the store to a new file, also while a server uses it",
     .help = "  -c, --config FILE    read settings from an INI file\n"
             "      --set KEY=VALUE  one setting; store.dsn is what is copied\n\n"
             "FILE must not be there. A server can start on it.\n"},
    {.name = "token", .words = "add NAME [RIGHTS] | list | remove NAME",
     .run = rbk_cmd_token, .summary = "callers of the tokens file",
     .help = "  add NAME             a new caller; its token is printed once\n"
             "  list                 names and rights, never a secret\n"
             "  remove NAME          its token is refused, and its jobs are dead\n\n"
             "      --file FILE      the tokens file; add makes it. Else the setting\n"
             "                       auth.tokens_file names it:\n"
             "  -c, --config FILE    read settings from an INI file\n"
             "      --set KEY=VALUE  one setting\n\n"
             "For add:\n\n"
             "      --secret         also a secret that signs its callbacks, printed behind the\n"
             "                       token\n"
             "      --methods GLOBS  what it may call (everything)\n"
             "      --hosts GLOBS    where its callbacks may go (wherever callback.hosts says)\n"
             "      --header LINE    header for its receivers, 'Name: value'; several times\n"
             "      --rate N/s       requests by s, m or h\n"
             "      --max-pending N  unfinished jobs\n"
             "      --max-pending-bytes SIZE\n"
             "                       their bytes, like 100M\n"
             "      --second         add to a caller that is there, whose old token stays good\n\n"
             "A server reads the file again at SIGHUP.\n"},
    {.name = "config", .words = "[-t] [-c FILE] [--set KEY=VALUE]... | --doc",
     .run = rbk_cmd_config, .summary = "print the settings", .settings = true,
     .help = "  -c, --config FILE    read settings from an INI file\n"
             "      --set KEY=VALUE  one setting; stronger than file and environment\n"
             "  -t, --test           only test the settings, and that the files that\n"
             "                       they name can be read\n"
             "      --doc            print the table of all settings as Markdown\n"},
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static const rbk_command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int print_overview(void)
{
    printf("ringback %s - a JSON-RPC 2.0 server that can answer later, by callback\n\n"
           "Usage: ringback COMMAND ...\n\n", rbk_version());
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    printf("\nringback help COMMAND tells more. Exit codes: 0 done, 1 what was asked for\n"
           "failed, 2 usage or configuration, 74 the store cannot be trusted.\n");
    return RBK_EXIT_OK;
}

static int print_help(const rbk_command *c)
{
    printf("ringback %s %s\n\n%s\n\n%s", c->name, c->words, c->summary, c->help);
    if (c->settings) {
        rbk_buf b = RBK_BUF(1 << 20);
        rbk_options_doc(&b, false);
        printf("\nSettings, with their defaults. Each is also the variable RINGBACK_SECTION_KEY;\n"
               "file < environment < --set.\n\n%.*s", RBK_FMT(rbk_buf_view(&b)));
        rbk_buf_free(&b);
    }
    return RBK_EXIT_OK;
}

static int help(int argc, char **argv)
{
    if (argc == 0)
        return print_overview();
    const rbk_command *c = find_command(argv[0]);
    return c ? print_help(c) : rbk_usage("'%s' is not a command; see ringback --help", argv[0]);
}

/* `--help` among the words, before a `--`. */
static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

static int flush(int code)
{
    if (fflush(stdout) == 0 || code != RBK_EXIT_OK)
        return code;
    return rbk_failed(RBK_E_SYS, "standard output cannot be written");
}

int main(int argc, char **argv)
{
    rbk_process_init();
    if (argc < 2) {
        rbk_usage("wants a command; see ringback --help");
        return RBK_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("ringback %s\n", rbk_version());
        return flush(RBK_EXIT_OK);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return flush(print_overview());
    if (strcmp(name, "help") == 0)
        return flush(help(argc - 2, argv + 2));
    const rbk_command *c = find_command(name);
    if (c == NULL)
        return rbk_usage("'%s' is not a command; see ringback --help", name);
    if (wants_help(argc - 2, argv + 2))
        return flush(print_help(c));
    return flush(c->run(argc - 2, argv + 2));
}
