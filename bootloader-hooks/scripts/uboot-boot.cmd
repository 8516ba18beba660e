# Slotkeeper's boot script for U-Boot (hush shell). Make boot.scr from it with
#   mkimage -A ARCH -T script -d uboot-boot.cmd boot.scr
# README.md beside it says what the board has to provide:
#   sk_addr            RAM address that nothing else uses meanwhile
#   sk_addr_second     the same plus 0x200
#   sk_read_confirmed  reads the two sectors at byte 4096 of the state store to ${sk_addr}
#   sk_bootargs        kernel command line without the slot
#   sk_start           loads and starts the kernel of slot ${sk_slot}; comes back only when it cannot
#   sk_save            optional, instead of saveenv
#
# Needs only: test, env import, run, setenv, saveenv, reset. No setexpr, no bootcount, no regular expressions.

# ---- The slot that was confirmed last: from the state store, because it must be known without our environment. The
# first sector is for a U-Boot whose environment has no flags byte, the second for one with a redundant environment;
# the checksum fits one of them only.
setenv slotkeeper_confirmed
setenv sk_confirmed
if test -n "${sk_read_confirmed}"; then
  if run sk_read_confirmed; then
    if env import -c ${sk_addr} 0x200 slotkeeper_confirmed; then
      echo "Slotkeeper: last confirmed slot read"
    elif env import -c ${sk_addr_second} 0x200 slotkeeper_confirmed; then
      echo "Slotkeeper: last confirmed slot read"
    fi
  fi
fi
if test "${slotkeeper_confirmed}" = "A"; then setenv sk_confirmed A; fi
if test "${slotkeeper_confirmed}" = "B"; then setenv sk_confirmed B; fi
setenv slotkeeper_confirmed

# ---- The first slot of the order that has tries left. When both copies of the environment are damaged, U-Boot has
# loaded the board's default environment, which must not set BOOT_ORDER: then nothing is found here.
setenv sk_slot
setenv sk_left
for sk_name in ${BOOT_ORDER}; do
  if test -z "${sk_slot}"; then
    if test "${sk_name}" = "A"; then
      if test -n "${BOOT_A_LEFT}"; then
        if test "${BOOT_A_LEFT}" -gt 0; then setenv sk_slot A; setenv sk_left ${BOOT_A_LEFT}; fi
      fi
    fi
    if test "${sk_name}" = "B"; then
      if test -n "${BOOT_B_LEFT}"; then
        if test "${BOOT_B_LEFT}" -gt 0; then setenv sk_slot B; setenv sk_left ${BOOT_B_LEFT}; fi
      fi
    fi
  fi
done

# ---- Count the try, before anything of the slot runs; never one of the slot that was confirmed last. Where that is not
# known every slot is counted: the firmware refills its own at every boot.
if test -n "${sk_slot}"; then
  if test "${sk_slot}" != "${sk_confirmed}"; then
    if test "${sk_left}" = "1"; then setenv sk_left 0
    elif test "${sk_left}" = "2"; then setenv sk_left 1
    elif test "${sk_left}" = "3"; then setenv sk_left 2
    elif test "${sk_left}" = "4"; then setenv sk_left 3
    elif test "${sk_left}" = "5"; then setenv sk_left 4
    elif test "${sk_left}" = "6"; then setenv sk_left 5
    elif test "${sk_left}" = "7"; then setenv sk_left 6
    elif test "${sk_left}" = "8"; then setenv sk_left 7
    else setenv sk_left 8; fi
    if test "${sk_slot}" = "A"; then setenv BOOT_A_LEFT ${sk_left}; fi
    if test "${sk_slot}" = "B"; then setenv BOOT_B_LEFT ${sk_left}; fi
    if test -n "${sk_save}"; then run sk_save; else saveenv; fi
  fi
else
  # Nothing to choose from: the last confirmed slot without counting, and without touching what is left of the
  # environment. Not even that is known: A; an unfinished slot cannot start, and then the other one is taken below.
  setenv sk_slot A
  if test -n "${sk_confirmed}"; then setenv sk_slot ${sk_confirmed}; fi
  echo "Slotkeeper: no slot has tries left or the environment is damaged"
fi

# ---- Start it; where its kernel cannot be loaded, the other one.
echo "Slotkeeper: starting slot ${sk_slot}"
setenv bootargs ${sk_bootargs} slotkeeper.slot=${sk_slot}
run sk_start
echo "Slotkeeper: slot ${sk_slot} does not start"
if test "${sk_slot}" = "A"; then setenv sk_slot B; else setenv sk_slot A; fi
echo "Slotkeeper: starting slot ${sk_slot}"
setenv bootargs ${sk_bootargs} slotkeeper.slot=${sk_slot}
run sk_start
echo "Slotkeeper: slot ${sk_slot} does not start"
reset
