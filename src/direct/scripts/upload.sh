mkdir -p -- "$state" "${target%/*}" || { echo unavailable; exit; }
# Of this very content, so that a piece that comes late, of another try, can only be one that is awaited.
part=$state/part.$name
exec 8>>"$part"
flock 8
[ "$offset" != 0 ] || : >"$part"
[ "$(size "$part")" = "$offset" ] && printf '%s' "$piece" | base64 -d >>"$part" || { echo unavailable; exit; }
[ "$(size "$part")" != "$total" ] || mv -f -- "$part" "$target" || { echo unavailable; exit; }
echo ok
