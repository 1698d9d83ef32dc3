/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside uzramctl: the command line (uzramctl.c), the connection to the server
 * (uzramctl_link.c), what answers look like to people (uzramctl_show.c), and the two
 * commands that ask more than once (uzramctl_blocks.c, uzramctl_watch.c), and the one that brings a
 * file (uzramctl_add.c).
 */
#ifndef UZRAM_UZRAMCTL_H
#define UZRAM_UZRAMCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "util.h"

#define JSON_STYLE JSON_REAL_PRECISION(15)

enum { EXIT_REFUSED = 1, EXIT_USAGE = 2 };

/* What the user asked for, and the connection that carries it. */
struct ask {
	const char *path;    /* the socket */
	const char *command; /* its name */
	int nr_words;	     /* behind the name: a disk, arguments */
	char *const *words;
	bool json, force;
	const char *from, *to; /* of blocks, or NULL */
	double seconds;	       /* of watch */
	int file;	       /* goes with the command, open; 0: none */
	const char *made;      /* a file that is to go if the command is refused, or NULL */
	FILE *in;
	int out;
};

/* One line to standard error. */
void complain(const char *fmt, ...) __printf_(1, 2);

/* false after a complaint. */
bool link_open(struct ask *ask);
void link_close(struct ask *ask);
/* Sends a line, given without its end. A failure shows in the answer, or by there being none. */
void link_send(struct ask *ask, const char *line);
/* The answer, which has "ok"; progress before it is drawn on a terminal. NULL after a complaint,
 * or silently if a signal came. */
json_t *link_answer(struct ask *ask);
/* Is it done? If not, complains. */
bool is_ok(json_t *answer);

/* As link_send() of the whole command; a disk or arguments included. */
void send_command(struct ask *ask, const char *options);

/* Exit statuses. */
int run_blocks(struct ask *ask);
int run_watch(struct ask *ask);

/* Before a command, and when its outcome is known. 0, or -1 after a complaint. */
int prepare_add(struct ask *ask);
void end_add(struct ask *ask, bool refused);

void show_list(json_t *answer);
void show_stat(json_t *answer);
void show_compact(json_t *answer);
void show_verify(json_t *answer);
void show_idle(json_t *answer);
void show_writeback(json_t *answer);
void show_metrics(json_t *answer);
void show_accel(json_t *answer);
void show_nothing(json_t *answer);

#endif
