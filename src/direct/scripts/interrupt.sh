turn=$state/turns/$message
mkdir -p -- "$turn" || { echo unavailable; exit; }
# Before the signal: a driver that has not begun to listen looks for it.
: >"$turn/interrupt"
current=$(cat "$state/current" 2>/dev/null)
case $current in
  "$message"/*) runs "$state/turns/$current/driver" && kill -s TERM "$pid" 2>/dev/null ;;
esac
echo ok
