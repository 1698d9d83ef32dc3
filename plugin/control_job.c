/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slow commands: each on a thread of its own, one per disk. The loop is told by
 * its eventfd and hands the answer over.
 */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "control_priv.h"

#define STACK_SIZE (256u << 10) /* small: the process may lock its memory */

static void *job_main(void *opaque)
{
	struct ctl_job *job = opaque;
	struct control *control = job->control;

	job->answer = job->request->command->run(&job->request->call);
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

static struct ctl_job *job_on(struct control *control, const struct disk *disk)
{
	size_t i;

	for (i = 0; i < CTL_JOBS_MAX; i++)
		if (control->jobs[i] && control->jobs[i]->request->call.disk == disk)
			return control->jobs[i];
	return NULL;
}

static struct ctl_job **job_place(struct control *control)
{
	size_t i;

	for (i = 0; i < CTL_JOBS_MAX; i++)
		if (!control->jobs[i])
			return &control->jobs[i];
	return NULL;
}

/* NULL; or why not. */
static json_t *job_try(struct control *control, struct ctl_conn *conn, struct ctl_request *request)
{
	struct disk *disk = request->call.disk;
	struct ctl_job *busy = job_on(control, disk);
	struct ctl_job **place = job_place(control);
	struct ctl_job *job;
	int err;

	if (busy)
		return ctl_error(EBUSY, "%s of %s is running", busy->request->command->slow,
			disk_name(disk));
	if (!place)
		return ctl_error(EBUSY, "%d slow commands are running", CTL_JOBS_MAX);
	job = calloc(1, sizeof(*job));
	if (!job)
		return ctl_error(ENOMEM, "no memory");
	request->call.stop = &control->stop;
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
	free(request);
	ctl_conn_answer(control, conn, error);
}

void ctl_job_end(struct control *control, struct ctl_job **place)
{
	struct ctl_job *job = *place;
	struct ctl_conn *conn = ctl_conn_find(control, job->conn);

	pthread_join(job->thread, NULL);
	*place = NULL;
	if (conn) {
		conn->job = false;
		ctl_conn_answer(control, conn, job->answer);
		ctl_conn_run(control, conn);
		ctl_conn_settle(control, conn);
	} else {
		json_decref(job->answer);
	}
	free(job->request);
	free(job);
}

void ctl_jobs_reap(struct control *control)
{
	uint64_t count;
	size_t i;

	if (read(control->wake, &count, sizeof(count)) < 0)
		return;
	for (i = 0; i < CTL_JOBS_MAX; i++)
		if (control->jobs[i] && atomic_load(&control->jobs[i]->done))
			ctl_job_end(control, &control->jobs[i]);
}
