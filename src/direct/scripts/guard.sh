[ "$(cat "$hidden/store" 2>/dev/null)" = "$store" ] || { echo store_changed; exit; }
[ -n "$deletes" ] || [ ! -e "$hidden/deleted.$session" ] || { echo gone; exit; }
