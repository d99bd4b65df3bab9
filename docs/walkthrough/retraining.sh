#!/usr/bin/env bash
# From synthetic CT to a served model that is retrained twice and rolled back once. A server runs
# all the while, and a client asks it without a pause: no question goes unanswered.
#
#   bash docs/walkthrough/retraining.sh FOLDER
#
# FOLDER must not exist. `ctnet` must be on the PATH (`source .venv/bin/activate`). About five
# minutes on two cores.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:?give a folder that does not exist yet}
mkdir "$folder"
cd "$folder"
cp "$here/retraining.yaml" .
versions=$PWD/work/serving/ctnet
running=()
stop() {
    touch asked-enough
    [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null || true
    wait
}
trap stop EXIT

say() { printf '\n== %s\n' "$*"; }
newest() { ls "$versions" | sort -n | tail -1; }

say "the fixed test set, and the first span of data"
ctnet phantom reference --patients 24 --slices 2 --size 64 --severity severe --seed 100
ctnet phantom spans/span-1 --patients 60 --slices 2 --size 64 --severity severe --seed 1

say "a server waits for a first version"
ctnet serve "$versions" --wait --port 0 --no-rest >server.log 2>&1 &
running+=($!)

say "the first model"
ctnet retrain --config retraining.yaml --data spans --workdir work
first=$(newest)

# Until the server has taken a version up, and the client has asked about every slice once more.
answered() {
    until grep -q "version $1 " server.log; do sleep 0.2; done
    local enough=$(($(wc -l <answers.jsonl) + 48))
    until [ "$(wc -l <answers.jsonl)" -ge "$enough" ]; do sleep 0.2; done
}

say "a client asks from now on"
until grep -q "^serving" server.log; do sleep 0.2; done
address=$(grep -o '[0-9.]*:[0-9]*$' server.log | head -1)
touch answers.jsonl
ask() { ctnet predict reference/*/0001.dcm --server "$address" --format jsonl; }
while [ ! -e asked-enough ]; do
    ask >>answers.jsonl 2>>client.log || echo "the client ended with exit code $?" >>client.log
done &
client=$!
answered "$first"

say "nothing new: nothing is done"
ctnet retrain --config retraining.yaml --data spans --workdir work

say "a second span: retrained, from the served model on both spans"
ctnet phantom spans/span-2 --patients 60 --slices 2 --size 64 --severity severe --seed 2
ctnet retrain --config retraining.yaml --data spans --workdir work
second=$(newest)
answered "$second"

say "a third span: retrained on the second and the third"
ctnet phantom spans/span-3 --patients 60 --slices 2 --size 64 --severity severe --seed 3
ctnet retrain --config retraining.yaml --data spans --workdir work
third=$(newest)
answered "$third"

say "back to the second model"
ctnet rollback work
again=$(newest)
answered "$again"

say "every version has answered, and no question went unanswered"
touch asked-enough
wait "$client"
ctnet history work
printf 'versions  %s %s %s %s\n' "$first" "$second" "$third" "$again"
printf 'answers   %s\n' "$(wc -l <answers.jsonl)"
test ! -s client.log
