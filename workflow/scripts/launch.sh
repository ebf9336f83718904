# torchrun, for a training that may be told to stop. By itself torchrun answers SIGTERM by killing its processes 30 s later:
# too soon for the checkpoint of a large model. So it ignores the signal, and its processes are told from here.
(
    trap '' TERM
    exec torchrun --signals-to-handle SIGINT,SIGHUP,SIGQUIT "$@"
) &
launcher=$!
trap 'kill -TERM $(cat "/proc/$launcher/task/$launcher/children")' TERM
while kill -0 "$launcher" 2>/dev/null; do # a signal interrupts the waiting
    wait "$launcher"
    status=$?
done
exit "$status"
