-- The table behind /cached-queries: the rows of `world` as they are now. Nothing ever writes to it, so that updates of
-- `world` need not tell any cache.
create table cached_world (
  id integer primary key,
  randomnumber integer not null
);

insert into cached_world (id, randomnumber)
select id, randomnumber from world;
