# SPDX-License-Identifier: BSD-3-Clause
# SIGTERM with a stage full of pages that take long to compress: the server ends within two
# seconds, and leaves nothing. What was acknowledged before is drained by nobody any more.
source "$(dirname "$0")/functions.sh"
source "$(dirname "$0")/term.sh"

for workers in 1 4; do
	start_with_full_stage workers=$workers
	ends_at_once
done
