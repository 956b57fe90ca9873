/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_sql.h - every SQL text of the SQLite store.
 *
 * job, wait, dead and done have the same columns, so that a row moves by INSERT … SELECT;
 * dead and done have one more, when it ended. `big` says what else lies elsewhere: 1 params
 * in the table blob (id = 2 * seq), 2 the response there (id = 2 * seq + 1), 4 failed
 * attempts in the table attempt, whose `n` counts on over a redrive, 8 a place in the order of
 * its key, in the table turn, until it has ended. So a job that has none of
 * it costs no statement for it. `size` and `rsize` are the bytes of request and response.
 * RBK_SQL_COLS is the order in which sqlite_row.c binds and reads. */
#ifndef RBK_STORE_SQLITE_SQL_H
#define RBK_STORE_SQLITE_SQL_H

#define RBK_SQL_SCALARS                                                                            \
    "seq,rnd,state,flags,runs,attempts,last_status,timeout_ms,created,due,first_attempt,deadline,"
#define RBK_SQL_TEXTS                                                                              \
    "lane,method,rpc_id,callback,caller,ray_id,headers,reason,failure_callback,idem_key,"          \
    "order_key,method_headers,chain,"
#define RBK_SQL_COLS RBK_SQL_SCALARS RBK_SQL_TEXTS "params,response,size,rsize,big"

/* What a job is loaded from, bodies wherever they lie. */
#define RBK_SQL_LOAD                                                                               \
    "SELECT " RBK_SQL_SCALARS RBK_SQL_TEXTS                                                        \
    "CASE WHEN big&1 THEN (SELECT body FROM blob WHERE id=2*seq) ELSE params END,"                 \
    "CASE WHEN big&2 THEN (SELECT body FROM blob WHERE id=2*seq+1) ELSE response END FROM "

#define RBK_SQL_COLUMNS                                                                            \
    "seq INTEGER PRIMARY KEY,rnd INTEGER NOT NULL,state INTEGER NOT NULL,"                         \
    "flags INTEGER NOT NULL,runs INTEGER NOT NULL,attempts INTEGER NOT NULL,"                      \
    "last_status INTEGER NOT NULL,timeout_ms INTEGER NOT NULL,created INTEGER NOT NULL,"           \
    "due INTEGER NOT NULL,first_attempt INTEGER NOT NULL,lane TEXT,method TEXT,rpc_id TEXT,"       \
    "callback TEXT,caller TEXT,ray_id TEXT,headers TEXT,reason TEXT,params TEXT,response TEXT,"    \
    "size INTEGER NOT NULL,rsize INTEGER NOT NULL,big INTEGER NOT NULL"

/* Step n leads from schema n to n + 1. Frozen once released. */
#define RBK_SQL_STEP_1                                                                             \
    "CREATE TABLE job(" RBK_SQL_COLUMNS ");"                                                       \
    "CREATE TABLE wait(" RBK_SQL_COLUMNS ");"                                                      \
    "CREATE INDEX wait_lane ON wait(lane,due);"                                                    \
    "CREATE TABLE dead(" RBK_SQL_COLUMNS ",died INTEGER NOT NULL);"                                \
    "CREATE TABLE blob(id INTEGER PRIMARY KEY,body TEXT);"                                         \
    "CREATE TABLE stat(id INTEGER PRIMARY KEY,pending INTEGER NOT NULL,bytes INTEGER NOT NULL,"    \
    "dead INTEGER NOT NULL,max_seq INTEGER NOT NULL);"                                             \
    "INSERT INTO stat VALUES(1,0,0,0,0);"

/* The counters of stat: what is neither HELD (8) nor on its way out (3, 4) counts as queued. */
#define RBK_SQL_COUNT(what)                                                                        \
    "(SELECT count(*) FROM job WHERE " what ")+(SELECT count(*) FROM wait WHERE " what ")"
#define RBK_SQL_STEP_2                                                                             \
    "ALTER TABLE dead RENAME COLUMN died TO ended;"                                                \
    "CREATE INDEX dead_ended ON dead(ended);"                                                      \
    "CREATE TABLE done(" RBK_SQL_COLUMNS ",ended INTEGER NOT NULL);"                               \
    "CREATE INDEX done_ended ON done(ended);"                                                      \
    "CREATE TABLE attempt(seq INTEGER NOT NULL,n INTEGER NOT NULL,number INTEGER NOT NULL,"        \
    "status INTEGER NOT NULL,at INTEGER NOT NULL,ms INTEGER NOT NULL,reason TEXT NOT NULL,"        \
    "host TEXT NOT NULL,PRIMARY KEY(seq,n)) WITHOUT ROWID;"                                        \
    "CREATE TABLE hold(receiver TEXT PRIMARY KEY) WITHOUT ROWID;"                                  \
    "ALTER TABLE stat ADD COLUMN held INTEGER NOT NULL DEFAULT 0;"                                 \
    "ALTER TABLE stat ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;"                               \
    "ALTER TABLE stat ADD COLUMN due INTEGER NOT NULL DEFAULT 0;"                                  \
    "ALTER TABLE stat ADD COLUMN done INTEGER NOT NULL DEFAULT 0;"                                 \
    "ALTER TABLE stat ADD COLUMN done_bytes INTEGER NOT NULL DEFAULT 0;"                           \
    "UPDATE stat SET held=" RBK_SQL_COUNT("state=8") ",due=" RBK_SQL_COUNT("state IN(3,4)") ";"    \
    "UPDATE stat SET queued=pending-held-due;"

/* What a caller may ask of a job. */
#define RBK_SQL_WISHES(t)                                                                          \
    "ALTER TABLE " t " ADD COLUMN deadline INTEGER NOT NULL DEFAULT 0;"                            \
    "ALTER TABLE " t " ADD COLUMN failure_callback TEXT;"                                          \
    "ALTER TABLE " t " ADD COLUMN idem_key TEXT;"                                                  \
    "ALTER TABLE " t " ADD COLUMN order_key TEXT;"                                                 \
    "ALTER TABLE " t " ADD COLUMN method_headers TEXT;"                                            \
    "ALTER TABLE " t " ADD COLUMN chain TEXT;"
#define RBK_SQL_STEP_3                                                                             \
    RBK_SQL_WISHES("job") RBK_SQL_WISHES("wait") RBK_SQL_WISHES("dead") RBK_SQL_WISHES("done")     \
    "CREATE TABLE idem(seq INTEGER PRIMARY KEY,rnd INTEGER NOT NULL,caller TEXT NOT NULL,"         \
    "key TEXT NOT NULL,print BLOB NOT NULL,until INTEGER NOT NULL,look INTEGER NOT NULL);"         \
    "CREATE UNIQUE INDEX idem_key ON idem(caller,key);"                                            \
    "CREATE INDEX idem_look ON idem(look);"                                                        \
    "CREATE TABLE turn(seq INTEGER PRIMARY KEY,key TEXT NOT NULL,ran INTEGER NOT NULL,lane TEXT);" \
    "CREATE INDEX turn_key ON turn(key,ran,seq);"                                                  \
    "CREATE TABLE part(seq INTEGER NOT NULL,n INTEGER NOT NULL,body TEXT NOT NULL,"                \
    "PRIMARY KEY(seq,n)) WITHOUT ROWID;"

/* Of those that have not run: QUEUED (1), HELD (8). */
#define RBK_SQL_MAY_EXPIRE "deadline>0 AND state IN(1,8)"
#define RBK_SQL_STEP_4 "CREATE INDEX wait_deadline ON wait(deadline) WHERE " RBK_SQL_MAY_EXPIRE ";"

/* What each caller has pending: a row as long as it has a job. Parts of HELD jobs count from here on,
 * for their caller and in stat. */
#define RBK_SQL_FED "(SELECT coalesce(sum(length(CAST(body AS BLOB))),0) FROM part"
#define RBK_SQL_OWED(t)                                                                            \
    "SELECT caller AS name,size+rsize+CASE state WHEN 8 THEN " RBK_SQL_FED " WHERE part.seq=" t    \
    ".seq) ELSE 0 END AS owed FROM " t " WHERE caller<>''"
#define RBK_SQL_STEP_5                                                                             \
    "CREATE TABLE caller(name TEXT PRIMARY KEY,jobs INTEGER NOT NULL,bytes INTEGER NOT NULL) "     \
    "WITHOUT ROWID;"                                                                               \
    "INSERT INTO caller SELECT name,count(*),sum(owed) FROM (" RBK_SQL_OWED("job") " UNION ALL "   \
    RBK_SQL_OWED("wait") ") GROUP BY name;"                                                        \
    "UPDATE stat SET bytes=bytes+" RBK_SQL_FED ");"

#define RBK_SQL_FIND(t) \
    "SELECT rnd,state,size,rsize,big,lane<>'',first_attempt,caller FROM " t " WHERE seq=?1"
#define RBK_SQL_INSERT(t)                                                                          \
    "INSERT INTO " t "(" RBK_SQL_COLS ") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"   \
    "?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30)"
#define RBK_SQL_DELETE(t) "DELETE FROM " t " WHERE seq=?1"
#define RBK_SQL_RESULT(t)                                                                          \
    "UPDATE " t " SET state=?2,response=?3,rsize=?4,big=?5,lane=coalesce(?6,lane),due=?7,"          \
    "first_attempt=?8 WHERE seq=?1"
#define RBK_SQL_DIVERT(t)                                                                          \
    "UPDATE " t " SET size=size+length(CAST(?2 AS BLOB))-"                                         \
    "coalesce(length(CAST(callback AS BLOB)),0),callback=?2 WHERE seq=?1 RETURNING size"
#define RBK_SQL_RETRY(t)                                                                           \
    "UPDATE " t " SET attempts=?2,last_status=?3,reason=?4,first_attempt=?5,due=?6,big=big|?7 "    \
    "WHERE seq=?1"
#define RBK_SQL_PARK(t) "UPDATE " t " SET lane=?2,due=?3 WHERE seq=?1"
#define RBK_SQL_RUNS(t) "UPDATE " t " SET runs=?2 WHERE seq=?1"
#define RBK_SQL_STATE(t) "UPDATE " t " SET state=?2 WHERE seq=?1"
#define RBK_SQL_MOVE(from, to)                                                                     \
    "INSERT OR FAIL INTO " to "(" RBK_SQL_COLS ") SELECT " RBK_SQL_COLS " FROM " from " WHERE seq=?1"
/* What stays as it is when a job ends and when it comes back. */
#define RBK_SQL_SAME                                                                               \
    "seq,rnd,flags,runs,timeout_ms,created,method,rpc_id,caller,ray_id,headers,deadline,"          \
    "failure_callback,idem_key,order_key,method_headers,chain,params,response,rsize,"
#define RBK_SQL_BURY(t)                                                                            \
    "INSERT OR FAIL INTO dead(" RBK_SQL_SAME "due,first_attempt,lane,callback,size,state,attempts,"        \
    "last_status,reason,ended,big) SELECT " RBK_SQL_SAME "due,first_attempt,lane,callback,size,"   \
    "?2,?3,?4,?5,?6,big|?7 FROM " t " WHERE seq=?1"
#define RBK_SQL_KEEP(t)                                                                            \
    "INSERT OR FAIL INTO done(" RBK_SQL_SAME "due,first_attempt,lane,callback,size,reason,big,state,"      \
    "attempts,last_status,ended) SELECT " RBK_SQL_SAME "due,first_attempt,lane,callback,size,"     \
    "reason,big,?2,CASE WHEN attempts>?3 THEN attempts ELSE ?3 END,"                           \
    "CASE ?4 WHEN 0 THEN last_status ELSE ?4 END,?5 "                                              \
    "FROM " t " WHERE seq=?1"
#define RBK_SQL_REDRIVE(t)                                                                         \
    "INSERT OR FAIL INTO wait(" RBK_SQL_SAME "big,attempts,last_status,reason,state,lane,due,"             \
    "first_attempt,callback,size) SELECT " RBK_SQL_SAME "big,0,0,NULL,?2,?3,?4,?5,"                \
    "coalesce(?6,callback),"                                                                       \
    "CASE WHEN ?6 IS NULL THEN size ELSE size+length(CAST(?6 AS BLOB))-"                           \
    "coalesce(length(CAST(callback AS BLOB)),0) END FROM " t " WHERE seq=?1"
#define RBK_SQL_OLDEST(t) "SELECT seq,ended,size+rsize,big FROM " t " ORDER BY ended LIMIT ?1"

/* name, text: the statements of the store thread's connection. Those of a kind stand as
 * JOB, WAIT (DEAD, DONE), so that name + shelf is the one for a shelf. */
#define RBK_SQL_WRITER_MAP(X)                                                                      \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(FIND, RBK_SQL_FIND("job"))                                                                   \
    X(FIND_WAIT, RBK_SQL_FIND("wait"))                                                             \
    X(FIND_DEAD, RBK_SQL_FIND("dead"))                                                             \
    X(FIND_DONE, RBK_SQL_FIND("done"))                                                             \
    X(INSERT, RBK_SQL_INSERT("job"))                                                               \
    X(INSERT_WAIT, RBK_SQL_INSERT("wait"))                                                         \
    X(DELETE, RBK_SQL_DELETE("job"))                                                               \
    X(DELETE_WAIT, RBK_SQL_DELETE("wait"))                                                         \
    X(DELETE_DEAD, RBK_SQL_DELETE("dead"))                                                         \
    X(DELETE_DONE, RBK_SQL_DELETE("done"))                                                         \
    X(RESULT, RBK_SQL_RESULT("job"))                                                               \
    X(RESULT_WAIT, RBK_SQL_RESULT("wait"))                                                         \
    X(DIVERT, RBK_SQL_DIVERT("job"))                                                               \
    X(DIVERT_WAIT, RBK_SQL_DIVERT("wait"))                                                         \
    X(RETRY, RBK_SQL_RETRY("job"))                                                                 \
    X(RETRY_WAIT, RBK_SQL_RETRY("wait"))                                                           \
    X(PARK, RBK_SQL_PARK("job"))                                                                   \
    X(PARK_WAIT, RBK_SQL_PARK("wait"))                                                             \
    X(RUNS, RBK_SQL_RUNS("job"))                                                                   \
    X(RUNS_WAIT, RBK_SQL_RUNS("wait"))                                                             \
    X(STATE, RBK_SQL_STATE("job"))                                                                 \
    X(STATE_WAIT, RBK_SQL_STATE("wait"))                                                           \
    X(BURY, RBK_SQL_BURY("job"))                                                                   \
    X(BURY_WAIT, RBK_SQL_BURY("wait"))                                                             \
    X(KEEP, RBK_SQL_KEEP("job"))                                                                   \
    X(KEEP_WAIT, RBK_SQL_KEEP("wait"))                                                             \
    X(KEEP_DEAD, RBK_SQL_KEEP("dead"))                                                             \
    X(REDRIVE_DEAD, RBK_SQL_REDRIVE("dead"))                                                       \
    X(REDRIVE_DONE, RBK_SQL_REDRIVE("done"))                                                       \
    X(OLDEST_DEAD, RBK_SQL_OLDEST("dead"))                                                         \
    X(OLDEST_DONE, RBK_SQL_OLDEST("done"))                                                         \
    X(MOVE, RBK_SQL_MOVE("job", "wait"))                                                           \
    X(MOVE_WAIT, RBK_SQL_MOVE("wait", "job"))                                                      \
    X(LOAD, RBK_SQL_LOAD "job WHERE seq=?1")                                                       \
    X(LOAD_WAIT, RBK_SQL_LOAD "wait WHERE seq=?1")                                                 \
    X(BLOB_PUT, "INSERT OR REPLACE INTO blob(id,body) VALUES(?1,?2)")                              \
    X(BLOB_DELETE, "DELETE FROM blob WHERE id=?1")                                                 \
    X(NOTE, "INSERT INTO attempt SELECT ?1,coalesce((SELECT max(n) FROM attempt WHERE seq=?1),0)"  \
            "+1,?2,?3,?4,?5,?6,?7 WHERE NOT EXISTS"                                                \
            "(SELECT 1 FROM attempt WHERE seq=?1 AND number=?2 AND at=?4)")                        \
    X(NOTES_TRIM, "DELETE FROM attempt WHERE seq=?1 AND "                                          \
                  "n<=(SELECT max(n) FROM attempt WHERE seq=?1)-?2")                               \
    X(NOTES_DELETE, "DELETE FROM attempt WHERE seq=?1")                                            \
    X(IDEM, "SELECT seq,rnd,print,until FROM idem WHERE caller=?1 AND key=?2")                     \
    X(IDEM_PUT, "INSERT OR REPLACE INTO idem VALUES(?1,?2,?3,?4,?5,?6,?6)")                        \
    X(IDEM_DELETE, "DELETE FROM idem WHERE seq=?1")                                                \
    X(IDEM_OLDEST, "SELECT seq,rnd FROM idem WHERE look<=?1 ORDER BY look LIMIT ?2")               \
    X(IDEM_LATER, "UPDATE idem SET look=?2 WHERE seq=?1")                                          \
    X(TURN, "SELECT key,lane FROM turn WHERE seq=?1")                                              \
    X(TURN_PUT, "INSERT OR REPLACE INTO turn VALUES(?1,?2,?3,?4)")                                 \
    X(TURN_DELETE, "DELETE FROM turn WHERE seq=?1")                                                \
    X(TURN_TO_RUN, "SELECT seq,lane FROM turn WHERE key=?1 AND ran=0 ORDER BY seq LIMIT 1")        \
    X(TURN_TO_SEND, "SELECT seq,lane FROM turn WHERE key=?1 AND ran=1 ORDER BY seq LIMIT 1")       \
    X(TURN_GO, "UPDATE turn SET lane=NULL WHERE seq=?1")                                           \
    X(RELEASE_RUN, "UPDATE wait SET lane=?2,state=?3 WHERE seq=?1")                                \
    X(RELEASE_SEND, "UPDATE wait SET lane=?2,first_attempt=?3 WHERE seq=?1")                       \
    X(CHAIN, "SELECT chain,flags FROM wait WHERE seq=?1")                                           \
    X(PART_PUT, "INSERT OR IGNORE INTO part VALUES(?1,?2,?3)")                                     \
    X(PART_COUNT, "SELECT count(*) FROM part WHERE seq=?1")                                        \
    X(PART, "SELECT body FROM part WHERE seq=?1 AND n=?2")                                         \
    X(PARTS_DELETE, "DELETE FROM part WHERE seq=?1 RETURNING length(CAST(body AS BLOB))")          \
    X(CALLER_ADD, "INSERT INTO caller VALUES(?1,?2,?3) ON CONFLICT(name) DO UPDATE SET "           \
                  "jobs=jobs+?2,bytes=bytes+?3 RETURNING jobs,bytes")                              \
    X(CALLER_DELETE, "DELETE FROM caller WHERE name=?1")                                           \
    X(CALLERS, "SELECT name,jobs,bytes FROM caller")                                               \
    X(RELEASE_FED, "UPDATE wait SET state=?2,due=?3,first_attempt=?4,params=?5,response=?6,"       \
                   "chain=?7,size=?8,rsize=?9,big=?10 WHERE seq=?1")                               \
    X(HOLD, "INSERT OR IGNORE INTO hold(receiver) VALUES(?1)")                                     \
    X(UNHOLD, "DELETE FROM hold WHERE receiver=?1")                                                \
    X(HOLDS, "SELECT receiver FROM hold WHERE receiver>?1 ORDER BY receiver LIMIT ?2")             \
    X(STAT, "SELECT pending,bytes,held,queued,due,dead,done,done_bytes,max_seq FROM stat "         \
            "WHERE id=1")                                                                          \
    X(STAT_ADD, "UPDATE stat SET pending=pending+?1,bytes=bytes+?2,held=held+?3,"                  \
                "queued=queued+?4,due=due+?5,dead=dead+?6,done=done+?7,done_bytes=done_bytes+?8,"  \
                "max_seq=max(max_seq,?9) WHERE id=1")                                              \
    X(CLAIM, "SELECT seq FROM wait WHERE lane=?1 AND due<=?2 ORDER BY due,seq LIMIT ?3")           \
    X(AGED, "SELECT due,seq,rnd,state,attempts,last_status,first_attempt,reason FROM wait "         \
            "WHERE lane=?1 AND (due,seq)>(?2,?3) ORDER BY due,seq LIMIT ?4")                       \
    X(NEXT_DUE, "SELECT due FROM wait WHERE lane=?1 ORDER BY due LIMIT 1")                         \
    X(EXPIRED, "SELECT seq FROM wait WHERE " RBK_SQL_MAY_EXPIRE                                    \
               " AND deadline<=?1 ORDER BY deadline,seq LIMIT ?2")                                 \
    X(NEXT_DEADLINE, "SELECT deadline FROM wait WHERE " RBK_SQL_MAY_EXPIRE                         \
                     " ORDER BY deadline LIMIT 1")                                                 \
    X(NEXT_LANE, "SELECT lane,due FROM wait WHERE lane>?1 ORDER BY lane,due LIMIT 1")              \
    X(RECOVER, RBK_SQL_LOAD "job WHERE seq>?1 ORDER BY seq LIMIT ?2")

/* What a filter may ask for, in the order in which sqlite_read.c reads it. */
#define RBK_SQL_SCAN(t)                                                                            \
    "SELECT seq,rnd,state,created,lane,method,rpc_id,callback,caller FROM " t " WHERE seq>?1"

/* The same for the reader's connection. */
#define RBK_SQL_READER_MAP(X)                                                                      \
    X(GET, RBK_SQL_LOAD "job WHERE seq=?1 AND rnd=?2 UNION ALL " RBK_SQL_LOAD                      \
           "wait WHERE seq=?1 AND rnd=?2 UNION ALL " RBK_SQL_LOAD                                  \
           "dead WHERE seq=?1 AND rnd=?2 UNION ALL " RBK_SQL_LOAD                                  \
           "done WHERE seq=?1 AND rnd=?2 LIMIT 1")                                                 \
    X(SCAN, RBK_SQL_SCAN("job") " UNION ALL " RBK_SQL_SCAN("wait") " UNION ALL "                   \
            RBK_SQL_SCAN("dead") " UNION ALL " RBK_SQL_SCAN("done") " ORDER BY seq")               \
    X(SCAN_PENDING, RBK_SQL_SCAN("job") " UNION ALL " RBK_SQL_SCAN("wait") " ORDER BY seq")        \
    X(SCAN_DEAD, RBK_SQL_SCAN("dead") " ORDER BY seq")                                             \
    X(SCAN_DONE, RBK_SQL_SCAN("done") " ORDER BY seq")                                             \
    X(ATTEMPTS, "SELECT number,status,at,ms,reason,host FROM attempt WHERE seq=?1 ORDER BY n "     \
                "LIMIT ?2")

#endif
