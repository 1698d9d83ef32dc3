/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slow commands: each on a thread of its own. What may run beside what on one disk is the
 * registry's to say. The loop is told by its eventfd and hands the answer over.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "control_priv.h"

#define STACK_SIZE (256u << 10) /* small: the process may lock its memory */
#define TELL_MS	   100		/* between two lines of progress */

static void *job_main(void *opaque)
{
	struct ctl_job *job = opaque;
	struct control *control = job->control;
	struct ctl_call *call = &job->request->call;

	job->answer = job->request->command->run(call);
	/* Here, not in the loop: a network's file system may take its time. */
	if (call->file)
		close(call->file);
	call->file = 0;
	atomic_store(&job->done, true);
	ctl_wake(control);
	return NULL;
}

int ctl_thread_start(pthread_t *thread, void *(*run)(void *), void *opaque)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return err;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, &attr, run, opaque);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

bool ctl_job_progress(void *opaque, unsigned done, unsigned total)
{
	const struct ctl_call *call = opaque;
	struct ctl_job *job = call->job;
	uint64_t now;

	if (atomic_load(call->stop))
		return false;
	if (!job->request->progress || !total)
		return true;
	now = ctl_now();
	if (now - job->woken < TELL_MS)
		return true;
	job->woken = now;
	atomic_store(&job->permille, (unsigned)((uint64_t)done * 1000 / total));
	ctl_wake(call->control);
	return true;
}

static struct ctl_job **job_place(struct control *control, bool reader)
{
	size_t i, last = reader ? CTL_READS_MAX : CTL_JOBS_MAX;

	for (i = 0; i < last; i++)
		if (!control->jobs[i])
			return &control->jobs[i];
	return NULL;
}

/* Has the disk as the command needs it. The request's end lets go. NULL; or why not. */
static json_t *job_hold(struct ctl_request *request)
{
	const struct ctl_command *command = request->command;
	struct ctl_call *call = &request->call;
	json_t *error;
	struct uz_error e;

	error = command->prepare ? command->prepare(call) : NULL;
	if (error || !call->disk || call->alone)
		return error;
	if (!command->keeps)
		return registry_beside(call->registry, call->disk, &e) ? ctl_refusal(&e) : NULL;
	if (registry_keep(call->registry, call->disk, command->keeps, &e) != 0)
		return ctl_refusal(&e);
	call->kept = true;
	return NULL;
}

/* NULL; or why not. */
static json_t *job_try(struct control *control, struct ctl_conn *conn, struct ctl_request *request)
{
	struct ctl_job **place = job_place(control, conn->reader);
	struct ctl_job *job;
	json_t *error;
	int err;

	if (!place)
		return ctl_error(EBUSY, "%d slow commands are running",
			conn->reader ? CTL_READS_MAX : CTL_JOBS_MAX);
	error = job_hold(request);
	if (error)
		return error;
	job = calloc(1, sizeof(*job));
	if (!job)
		return ctl_error(ENOMEM, "no memory");
	request->call.stop = &control->stop;
	request->call.job = job;
	job->control = control;
	job->request = request;
	job->conn = conn->id;
	err = ctl_thread_start(&job->thread, job_main, job);
	if (err) {
		free(job);
		return ctl_error(err, "no thread for it: %s", strerror(err));
	}
	conn->job = true;
	*place = job;
	return NULL;
}

void ctl_job_start(struct control *control, struct ctl_conn *conn, struct ctl_request *request)
{
	json_t *error = job_try(control, conn, request);

	if (conn->job)
		return;
	ctl_request_free(request);
	ctl_conn_answer(control, conn, error);
}

void ctl_job_end(struct control *control, struct ctl_job **place)
{
	struct ctl_job *job = *place;
	struct ctl_conn *conn = ctl_conn_find(control, job->conn);

	pthread_join(job->thread, NULL);
	*place = NULL;
	/* Before the answer: who hears it finds the disk free. */
	ctl_request_free(job->request);
	if (conn) {
		conn->job = false;
		ctl_conn_answer(control, conn, job->answer);
		ctl_conn_run(control, conn);
		ctl_conn_settle(control, conn);
	} else {
		json_decref(job->answer);
	}
	free(job);
}

static void job_tell(struct control *control, struct ctl_job *job)
{
	struct ctl_conn *conn = ctl_conn_find(control, job->conn);
	unsigned permille = atomic_load(&job->permille);
	char line[64];

	if (!conn || permille == job->told)
		return;
	job->told = permille;
	snprintf(line, sizeof(line), "{\"done\":%u,\"total\":1000}\n", permille);
	ctl_conn_tell(control, conn, line);
	ctl_conn_settle(control, conn);
}

void ctl_jobs_reap(struct control *control)
{
	uint64_t count;
	size_t i;

	if (read(control->wake, &count, sizeof(count)) < 0)
		return;
	for (i = 0; i < CTL_JOBS_MAX; i++) {
		if (!control->jobs[i])
			continue;
		if (atomic_load(&control->jobs[i]->done))
			ctl_job_end(control, &control->jobs[i]);
		else
			job_tell(control, control->jobs[i]);
	}
}
