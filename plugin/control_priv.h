/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the control socket: its file (control_file.c), the loop (control.c), a
 * connection (control_conn.c), slow commands (control_job.c), the commands' table and
 * parser (control_cmd.c), what changes disks (control_admin.c, control_set.c,
 * control_writeback.c), the documents (stat_json.c, control_blocks.c, control_metrics.c), the
 * accelerator (control_accel.c), answers as text (control_answer.c). A command is a row of the table and a function from a struct
 * ctl_call to a document.
 */
#ifndef UZRAM_CONTROL_PRIV_H
#define UZRAM_CONTROL_PRIV_H

#include <jansson.h>
#include <sys/types.h>

#include "control.h"

#define CTL_LINE_MAX	4096 /* bytes of a request, without its newline */
#define CTL_WORDS_MAX	256
#define CTL_CONNS_MAX	64
#define CTL_READERS_MAX 48 /* of them, those who may only look: the owner always gets in */
#define CTL_JOBS_MAX	16
#define CTL_READS_MAX	8 /* of them, for those who may only look */
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

/* `group` NULL: none. */
int ctl_file_bind(struct ctl_file *file, const char *path, const char *group, struct uz_error *e);
/* From now on the process's exit does not remove it; ctl_file_close() does. */
void ctl_file_keep(struct ctl_file *file);
void ctl_file_close(struct ctl_file *file);

/* What a command is given. */
struct ctl_call {
	struct registry *registry;
	struct control *control;
	struct disk *disk; /* held; NULL: all, or the command takes none */
	bool alone, kept;  /* how else it is held */
	const char *const *args;
	unsigned nr_args;
	const char *const *opts; /* "--force", or "--from" and its value */
	unsigned nr_opts;
	uint64_t size;		 /* from prepare to run */
	int file;		 /* the open file that came with the request; 0: none */
	const atomic_bool *stop; /* a slow command ends soon after it turns true */
	struct ctl_job *job;
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
	unsigned max_opts;	     /* words of options, behind the arguments */
	bool pairs;		     /* the arguments are KEY=VALUE */
	bool reader;		     /* who may only look may use it */
	bool job;		     /* runs on a thread of its own; else at once, in the loop */
	const char *file; /* the argument that an open file stands for begins so; NULL: none */
	const char *keeps; /* one of these per disk at a time; what to call it: "compaction" */
	/* In the loop, before a job: NULL, or why not. */
	json_t *(*prepare)(struct ctl_call *call);
	json_t *(*run)(const struct ctl_call *call); /* NULL: a later version's */
};

/* A request, taken apart. */
struct ctl_request {
	const struct ctl_command *command;
	struct ctl_call call;
	bool progress; /* is asked for */
	const char *words[CTL_WORDS_MAX];
	char line[CTL_LINE_MAX + 1];
};

/*
 * Answers to be sent, never NULL but for want of memory: a document that
 * succeeds has no "ok" until ctl_text().
 */
json_t *ctl_error(int code, const char *fmt, ...) __printf_(2, 3);
json_t *ctl_refusal(const struct uz_error *e);
/* The answer as one line, newline included; takes `answer`, NULL too. NULL: no memory. */
char *ctl_text(json_t *answer);

/* Has it bytes that no line of text has? A \r may end one. */
bool ctl_has_control(const char *bytes, size_t len);
/* Is it text, all of it? */
bool ctl_is_text(const char *bytes, size_t len);
/* NULL and *error, the answer, which may be NULL; else for ctl_request_free(). */
struct ctl_request *ctl_parse(struct control *control, const char *line, size_t len,
	json_t **error);
/* Lets go of its disk, too. NULL is not fine. */
void ctl_request_free(struct ctl_request *request);

/* "a, b": of all commands, or of those for who may only look. To be freed; NULL: no memory. */
char *ctl_command_names(bool readers);
/* As registry_next(), and lets go of `after`. */
struct disk *ctl_next_disk(struct registry *registry, struct disk *after);

/* "KEY=VALUE" becomes part of `config`. 0, or -1 with *e filled. */
int ctl_set_pair(struct disk_config *config, const char *pair, struct uz_error *e);
/* A decimal number and nothing else. */
bool ctl_number(const char *text, uint64_t *number);

/* Answers. */
json_t *ctl_named(const struct ctl_call *call); /* done */
json_t *ctl_shutting_down(void);

/* Commands. */
json_t *ctl_run_compact(const struct ctl_call *call);
json_t *ctl_run_verify(const struct ctl_call *call);
json_t *ctl_run_drop_stats(const struct ctl_call *call);
json_t *ctl_run_set(const struct ctl_call *call);
json_t *ctl_prepare_reset(struct ctl_call *call);
json_t *ctl_run_reset(const struct ctl_call *call);
json_t *ctl_prepare_resize(struct ctl_call *call);
json_t *ctl_run_resize(const struct ctl_call *call);
json_t *ctl_run_add(const struct ctl_call *call);
json_t *ctl_run_remove(const struct ctl_call *call);
json_t *ctl_run_idle(const struct ctl_call *call);
json_t *ctl_run_writeback(const struct ctl_call *call);
json_t *ctl_run_blocks(const struct ctl_call *call);
json_t *ctl_run_metrics(const struct ctl_call *call);
json_t *ctl_run_accel(const struct ctl_call *call);

struct ctl_conn {
	int fd;
	uint64_t id;	/* never used again: an answer finds who asked, or nobody */
	uint64_t since; /* ms; what it does now, it does since */
	uint32_t events;
	bool reader; /* may only look */
	bool job, eof, closing, dead;
	int file;  /* came with the request that is being read; 0: none */
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
	atomic_uint permille; /* how far it is */
	unsigned told;	      /* the same, as the client knows it */
	uint64_t woken;	      /* ms; the loop, to tell */
};

struct control {
	struct ctl_file file;
	struct registry *registry;
	bool fixed; /* no disk can be added */
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
/* Takes `answer`, which may be NULL. It follows what is still to be sent. */
void ctl_conn_answer(struct control *control, struct ctl_conn *conn, json_t *answer);
/* A line that may be left out, and is if there is one to be sent still. */
void ctl_conn_tell(struct control *control, struct ctl_conn *conn, const char *line);
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
/* The eventfd was written: ends those that are done, tells how far the others are. */
void ctl_jobs_reap(struct control *control);
/* A disk_progress_fn for a job's thread; `opaque` is its struct ctl_call. */
bool ctl_job_progress(void *opaque, unsigned done, unsigned total);

/* Documents. `disk` NULL: all. */
json_t *stat_document(struct registry *registry, struct disk *disk);
json_t *list_document(struct registry *registry);
/* The accelerator's; NULL: there is none, or no memory. */
json_t *accel_document(struct registry *registry);
/* Bucket i of DISK_LATENCY_BUCKETS: at least 2^(i-1) and less than 2^i ns. */
json_t *histogram_document(const uint64_t *counts, uint64_t sum_ns);

/* For tests: in place of CTL_STUCK_MS, before control_start(). */
void control_set_stuck_ms(struct control *control, unsigned ms);

#endif
