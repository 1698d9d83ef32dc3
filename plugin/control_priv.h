/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the control socket: its file (control_file.c), the loop (control.c), a
 * connection (control_conn.c), slow commands (control_job.c), what the commands
 * are (control_cmd.c), the documents (stat_json.c). A command is a row of the table in
 * control_cmd.c and a function from a struct ctl_call to a document.
 */
#ifndef UZRAM_CONTROL_PRIV_H
#define UZRAM_CONTROL_PRIV_H

#include <jansson.h>
#include <sys/types.h>

#include "control.h"

#define CTL_LINE_MAX	4096 /* bytes of a request, without its newline */
#define CTL_WORDS_MAX	256
#define CTL_CONNS_MAX	64
#define CTL_JOBS_MAX	16
#define CTL_PENDING_MAX (16u << 20) /* bytes of answers not yet read, all clients together */
#define CTL_STUCK_MS	10000	    /* how long a line may stay half sent, an answer unread */

/* The socket's file. */
struct ctl_file {
	int fd;	    /* listening; -1 when closed */
	char *path; /* absolute: the process may have changed its directory */
	dev_t dev;  /* what we made there, and nothing else, is removed */
	ino_t ino;
	bool remove;	       /* it is this process that removes it */
	struct ctl_file *next; /* not yet serving: see ctl_file_keep() */
};

int ctl_file_bind(struct ctl_file *file, const char *path, struct uz_error *e);
/* From now on the process's exit does not remove it; ctl_file_close() does. */
void ctl_file_keep(struct ctl_file *file);
void ctl_file_close(struct ctl_file *file);

/* What a command is given. */
struct ctl_call {
	const struct disk_set *set;
	struct disk *disk; /* NULL: all, or the command takes none */
	const char *const *args;
	unsigned nr_args;
	const atomic_bool *stop; /* a slow command ends soon after it turns true */
};

enum ctl_takes {
	CTL_NO_DISK,
	CTL_ONE_DISK, /* may be left out when there is one */
	CTL_ALL_DISKS /* left out means all */
};

struct ctl_command {
	const char *name;
	const char *usage; /* what follows the name */
	enum ctl_takes takes;
	unsigned min_args, max_args; /* besides the disk */
	const char *slow;	     /* runs on a thread of its own, one of these per disk; what to
				      * call it: "compaction". NULL: done at once, in the loop */
	json_t *(*run)(const struct ctl_call *call); /* NULL: a later version's */
};

/* A request, taken apart. */
struct ctl_request {
	const struct ctl_command *command;
	struct ctl_call call;
	const char *words[CTL_WORDS_MAX];
	char line[CTL_LINE_MAX + 1];
};

/*
 * Answers to be sent, never NULL but for want of memory: a document that
 * succeeds has no "ok" until ctl_text().
 */
json_t *ctl_error(int code, const char *fmt, ...) __printf_(2, 3);
/* The answer as one line, newline included; takes `answer`, NULL too. NULL: no memory. */
char *ctl_text(json_t *answer);

/* Has it bytes that no line of text has? A \r may end one. */
bool ctl_has_control(const char *bytes, size_t len);
/* Is it text, all of it? */
bool ctl_is_text(const char *bytes, size_t len);
/* To be freed; or NULL and *error, the answer, which may be NULL. */
struct ctl_request *ctl_parse(
	const struct disk_set *set, const char *line, size_t len, json_t **error);

struct ctl_conn {
	int fd;
	uint64_t id;	/* never used again: an answer finds who asked, or nobody */
	uint64_t since; /* ms; what it does now, it does since */
	uint32_t events;
	bool job, eof, closing, dead;
	char *out; /* an answer, unsent from out_pos on */
	size_t out_len, out_pos;
	size_t in_len;
	char in[CTL_LINE_MAX + 1];
};

struct ctl_job {
	struct control *control;
	struct ctl_request *request;
	uint64_t conn;
	pthread_t thread;
	json_t *answer;
	atomic_bool done;
};

struct control {
	struct ctl_file file;
	const struct disk_set *set;
	int epoll, wake;
	pthread_t thread;
	bool running;
	atomic_bool stop;
	uint64_t paused; /* not accepting since then; 0: accepting */
	unsigned stuck_ms;
	uint64_t next_id;
	size_t pending; /* unsent bytes of all connections */
	struct ctl_conn *conns[CTL_CONNS_MAX];
	struct ctl_job *jobs[CTL_JOBS_MAX];
};

uint64_t ctl_now(void); /* milliseconds */
void ctl_wake(struct control *control);

struct ctl_conn *ctl_conn_find(struct control *control, uint64_t id);
void ctl_conn_drop(struct control *control, struct ctl_conn *conn);
/* Takes `answer`, which may be NULL. */
void ctl_conn_answer(struct control *control, struct ctl_conn *conn, json_t *answer);
/* An answer after which nothing that this client sends can be trusted. */
void ctl_conn_refuse(struct control *control, struct ctl_conn *conn, json_t *answer);
/* Works off the lines that are there, as far as the answers go. */
void ctl_conn_run(struct control *control, struct ctl_conn *conn);
/* After anything was done with it: it goes, or waits for what it needs. */
void ctl_conn_settle(struct control *control, struct ctl_conn *conn);
void ctl_conn_event(struct control *control, uint64_t id, uint32_t events);

/* pthread_create(), its stack small and its signals blocked: they are the main thread's. */
int ctl_thread_start(pthread_t *thread, void *(*run)(void *), void *opaque);
/* Takes `request`; answers at once if it cannot be. */
void ctl_job_start(struct control *control, struct ctl_conn *conn, struct ctl_request *request);
/* Waits for it, and answers whoever asked, if they are still there. */
void ctl_job_end(struct control *control, struct ctl_job **place);
/* The eventfd was written: ends those that are done. */
void ctl_jobs_reap(struct control *control);

/* Documents. `disk` NULL: all of the set. */
json_t *stat_document(const struct disk_set *set, struct disk *disk);
json_t *list_document(const struct disk_set *set);

/* For tests: in place of CTL_STUCK_MS, before control_start(). */
void control_set_stuck_ms(struct control *control, unsigned ms);

#endif
