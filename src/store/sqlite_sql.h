/* SPDX-License-Identifier: Apache-2.0 */
/* store/sqlite_sql.h - every SQL text of the SQLite store.
 *
 * job, wait and dead have the same columns, so that a row moves by INSERT … SELECT.
 * `big` says which bodies lie in the table blob: 1 params (id = 2 * seq), 2 response
 * (id = 2 * seq + 1). `size` and `rsize` are the bytes of request and response.
 * RBK_SQL_COLS is the order in which sqlite_row.c binds and reads. */
#ifndef RBK_STORE_SQLITE_SQL_H
#define RBK_STORE_SQLITE_SQL_H

#define RBK_SQL_SCALARS                                                                            \
    "seq,rnd,state,flags,runs,attempts,last_status,timeout_ms,created,due,first_attempt,"
#define RBK_SQL_TEXTS "lane,method,rpc_id,callback,caller,ray_id,headers,reason,"
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

#define RBK_SQL_FIND(t) "SELECT rnd,state,size,rsize,big,lane<>'' FROM " t " WHERE seq=?1"
#define RBK_SQL_INSERT(t)                                                                          \
    "INSERT INTO " t "(" RBK_SQL_COLS ") VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"   \
    "?15,?16,?17,?18,?19,?20,?21,?22,?23,?24)"
#define RBK_SQL_DELETE(t) "DELETE FROM " t " WHERE seq=?1"
#define RBK_SQL_RESULT(t)                                                                          \
    "UPDATE " t " SET state=?2,response=?3,rsize=?4,big=?5,lane=coalesce(?6,lane),due=?7,"          \
    "first_attempt=?8 WHERE seq=?1"
#define RBK_SQL_RETRY(t)                                                                           \
    "UPDATE " t " SET attempts=?2,last_status=?3,reason=?4,first_attempt=?5,due=?6 WHERE seq=?1"
#define RBK_SQL_PARK(t) "UPDATE " t " SET lane=?2,due=?3 WHERE seq=?1"
#define RBK_SQL_RUNS(t) "UPDATE " t " SET runs=?2 WHERE seq=?1"
#define RBK_SQL_MOVE(from, to)                                                                     \
    "INSERT INTO " to "(" RBK_SQL_COLS ") SELECT " RBK_SQL_COLS " FROM " from " WHERE seq=?1"
#define RBK_SQL_BURY(t)                                                                            \
    "INSERT INTO dead SELECT seq,rnd,?2,flags,runs,?3,?4,timeout_ms,created,due,first_attempt,"    \
    "lane,method,rpc_id,callback,caller,ray_id,headers,?5,params,response,size,rsize,big,?6 "      \
    "FROM " t " WHERE seq=?1"

/* name, text: the statements of the store thread's connection. Those of a kind stand as
 * JOB, WAIT (and DEAD), so that name + shelf is the one for a shelf. */
#define RBK_SQL_WRITER_MAP(X)                                                                      \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                    \
    X(COMMIT, "COMMIT")                                                                            \
    X(ROLLBACK, "ROLLBACK")                                                                        \
    X(FIND, RBK_SQL_FIND("job"))                                                                   \
    X(FIND_WAIT, RBK_SQL_FIND("wait"))                                                             \
    X(FIND_DEAD, RBK_SQL_FIND("dead"))                                                             \
    X(INSERT, RBK_SQL_INSERT("job"))                                                               \
    X(INSERT_WAIT, RBK_SQL_INSERT("wait"))                                                         \
    X(DELETE, RBK_SQL_DELETE("job"))                                                               \
    X(DELETE_WAIT, RBK_SQL_DELETE("wait"))                                                         \
    X(DELETE_DEAD, RBK_SQL_DELETE("dead"))                                                         \
    X(RESULT, RBK_SQL_RESULT("job"))                                                               \
    X(RESULT_WAIT, RBK_SQL_RESULT("wait"))                                                         \
    X(RETRY, RBK_SQL_RETRY("job"))                                                                 \
    X(RETRY_WAIT, RBK_SQL_RETRY("wait"))                                                           \
    X(PARK, RBK_SQL_PARK("job"))                                                                   \
    X(PARK_WAIT, RBK_SQL_PARK("wait"))                                                             \
    X(RUNS, RBK_SQL_RUNS("job"))                                                                   \
    X(RUNS_WAIT, RBK_SQL_RUNS("wait"))                                                             \
    X(BURY, RBK_SQL_BURY("job"))                                                                   \
    X(BURY_WAIT, RBK_SQL_BURY("wait"))                                                             \
    X(MOVE, RBK_SQL_MOVE("job", "wait"))                                                           \
    X(MOVE_WAIT, RBK_SQL_MOVE("wait", "job"))                                                      \
    X(LOAD, RBK_SQL_LOAD "job WHERE seq=?1")                                                       \
    X(LOAD_WAIT, RBK_SQL_LOAD "wait WHERE seq=?1")                                                 \
    X(BLOB_PUT, "INSERT OR REPLACE INTO blob(id,body) VALUES(?1,?2)")                              \
    X(BLOB_DELETE, "DELETE FROM blob WHERE id=?1")                                                 \
    X(STAT, "SELECT pending,bytes,dead,max_seq FROM stat WHERE id=1")                              \
    X(STAT_ADD, "UPDATE stat SET pending=pending+?1,bytes=bytes+?2,dead=dead+?3,"                  \
                "max_seq=max(max_seq,?4) WHERE id=1")                                              \
    X(CLAIM, "SELECT seq FROM wait WHERE lane=?1 AND due<=?2 ORDER BY due,seq LIMIT ?3")           \
    X(NEXT_DUE, "SELECT due FROM wait WHERE lane=?1 ORDER BY due LIMIT 1")                         \
    X(NEXT_LANE, "SELECT lane,due FROM wait WHERE lane>?1 ORDER BY lane,due LIMIT 1")              \
    X(RECOVER, RBK_SQL_LOAD "job WHERE seq>?1 ORDER BY seq LIMIT ?2")

/* The same for the reader's connection. */
#define RBK_SQL_READER_MAP(X)                                                                      \
    X(GET, RBK_SQL_LOAD "job WHERE seq=?1 AND rnd=?2 UNION ALL " RBK_SQL_LOAD                      \
           "wait WHERE seq=?1 AND rnd=?2 UNION ALL " RBK_SQL_LOAD                                  \
           "dead WHERE seq=?1 AND rnd=?2 LIMIT 1")                                                 \
    X(SCAN, "SELECT seq,rnd,state FROM job WHERE seq>?1 UNION ALL "                                \
            "SELECT seq,rnd,state FROM wait WHERE seq>?1 UNION ALL "                               \
            "SELECT seq,rnd,state FROM dead WHERE seq>?1 ORDER BY seq")

#endif
