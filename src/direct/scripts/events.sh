current=$(cat "$state/current" 2>/dev/null)
[ -n "$current" ] || { echo not_found; exit; }
run=$state/turns/$current
# Before the files are read: what a driver wrote before its end is then read with it.
life=running
runs "$run/driver" || life=lost
[ ! -s "$run/ended" ] || life=ended
# What a driver removes at its end.
[ "$life" = running ] || [ ! -s "$run/driver" ] ||
  rm -f -- "$run/script" "$run/input" "$run/candidate" "$run/printed" "$run/answer"
flag=0
[ ! -e "${run%/*}/interrupt" ] || flag=1
begun=0
[ ! -s "${run%/*}/started" ] || begun=1
position=$(cat "$run/position")
from=$((after - position))
[ "$from" -ge 0 ] || from=0
line=$((from >> 32))
byte=$((from & 4294967295))
# A loss stands behind the last record, and is told once.
[ "$line" -le "$(wc -l <"$run/records")" ] || life=ended
# Before the records: output that is longer belongs behind records that are not read yet.
end=$(size "$run/output")
read -r generation rest 2>/dev/null <"$state/credential"
echo "events $current $position $line $byte $life $flag $begun ${generation:-0}"
tail -n "+$((line + 1))" "$run/records" | head -c 65536 | base64 | tr -d '\n'
echo
# One byte more, which tells whether the rest of a line follows.
first=$((byte > 0 ? byte : 1))
length=$((end - first + 1))
[ "$length" -le "$most" ] || length=$most
tail -c "+$first" "$run/output" | head -c "$length" | base64 | tr -d '\n'
echo
# Behind the output, which can hold none that came into the workspace later.
cat "$state/credential.new" "$state/credential" 2>/dev/null | head -c 32768
